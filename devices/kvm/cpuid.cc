// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/cpuid.h"

#include <fcntl.h>
#include <linux/kvm.h>

#include <cerrno>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/flex_array.h"

namespace passthru::kvm {
namespace {

// KVM_MAX_CPUID_ENTRIES in arch/x86/include/asm/kvm_host.h.
constexpr size_t kMaxEntries = 256;

}  // namespace

absl::Status SetSupportedCpuid(kernel::Syscalls* syscalls, KvmVcpu& vcpu) {
  const auto opened = syscalls->Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    return kernel::ErrnoError(opened.error, "open(/dev/kvm)");
  }
  const kernel::FileDescriptor system(syscalls, opened.value);
  kernel::FlexArray<kvm_cpuid2, kvm_cpuid_entry2> cpuid(kMaxEntries);
  cpuid.header().nent = kMaxEntries;
  if (const auto got = syscalls->Ioctl(system.get(), KVM_GET_SUPPORTED_CPUID,
                                       &cpuid.header());
      !got.ok()) {
    return kernel::ErrnoError(got.error, "KVM_GET_SUPPORTED_CPUID");
  }
  if (cpuid.header().nent > kMaxEntries) {
    return absl::InternalError(absl::StrCat("KVM_GET_SUPPORTED_CPUID answered ",
                                            cpuid.header().nent, " of ",
                                            kMaxEntries, " entries"));
  }
  if (const auto set =
          syscalls->Ioctl(vcpu.fd(), KVM_SET_CPUID2, &cpuid.header());
      !set.ok()) {
    return kernel::ErrnoError(
        set.error, absl::StrCat("KVM_SET_CPUID2 on vCPU ", vcpu.id()));
  }
  return absl::OkStatus();
}

}  // namespace passthru::kvm
