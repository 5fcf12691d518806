// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/cpuid.h"

#include <fcntl.h>
#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"

namespace passthru::kvm {
namespace {

// KVM_MAX_CPUID_ENTRIES in arch/x86/include/asm/kvm_host.h.
constexpr size_t kMaxEntries = 256;

constexpr uint32_t kAddressSizeLeaf = 0x80000008;
// Without the leaf a CPU has 36 bits if it has PAE (Intel SDM, CPUID).
constexpr unsigned kAddressBitsWithoutLeaf = 36;
// The most that a page table entry holds (Intel SDM, MAXPHYADDR).
constexpr unsigned kMostAddressBits = 52;

using CpuidList = kernel::FlexArray<kvm_cpuid2, kvm_cpuid_entry2>;

}  // namespace

absl::StatusOr<std::vector<kvm_cpuid_entry2>> SupportedCpuid(
    kernel::Syscalls* syscalls) {
  const auto opened = syscalls->Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    return kernel::ErrnoError(opened.error, "open of /dev/kvm");
  }
  const kernel::FileDescriptor system(syscalls, opened.value);
  CpuidList cpuid(kMaxEntries);
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
  const auto entries = cpuid.elements().first(cpuid.header().nent);
  return std::vector<kvm_cpuid_entry2>(entries.begin(), entries.end());
}

absl::Status SetCpuid(kernel::Syscalls* syscalls, KvmVcpu& vcpu,
                      absl::Span<const kvm_cpuid_entry2> entries) {
  CpuidList cpuid(entries.size());
  cpuid.header().nent = static_cast<uint32_t>(entries.size());
  std::copy(entries.begin(), entries.end(), cpuid.elements().begin());
  if (const auto set =
          syscalls->Ioctl(vcpu.fd(), KVM_SET_CPUID2, &cpuid.header());
      !set.ok()) {
    return kernel::ErrnoError(
        set.error, absl::StrCat("KVM_SET_CPUID2 on vCPU ", vcpu.id()));
  }
  return absl::OkStatus();
}

unsigned GuestPhysicalAddressBits(absl::Span<const kvm_cpuid_entry2> entries) {
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function != kAddressSizeLeaf) continue;
    const unsigned of_cpu = entry.eax & 0xff;
    const unsigned of_guest = entry.eax >> 16 & 0xff;
    if (of_cpu == 0) break;
    const unsigned bits = of_guest == 0 ? of_cpu : std::min(of_cpu, of_guest);
    return std::min(bits, kMostAddressBits);
  }
  return kAddressBitsWithoutLeaf;
}

}  // namespace passthru::kvm
