// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_files.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_kvm.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"
#include "passthru/testing/kvm/fake_kvm_vm.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint32_t kMaxCpuidEntries = 256;  // KVM_MAX_CPUID_ENTRIES

template <typename T>
SyscallResult<int> GetState(void* arg, const T& state) {
  return {.error = journal::CopyToUser(arg, state) ? 0 : EFAULT};
}

template <typename T>
SyscallResult<int> SetState(const void* arg, T& state) {
  const auto value = journal::CopyFromUser<T>(arg);
  if (!value.has_value()) return {.error = EFAULT};
  state = *value;
  return {};
}

}  // namespace

FakeKvmVmFile::FakeKvmVmFile(std::shared_ptr<FakeKvmVm> vm)
    : vm_(std::move(vm)) {}

FakeKvmVmFile::~FakeKvmVmFile() = default;

journal::Call FakeKvmVmFile::DescribeIoctl(unsigned long request,
                                           const void* arg) const {
  return journal::DescribeKvmIoctl(request, arg);
}

std::string_view FakeKvmVmFile::IoctlName(unsigned long request) const {
  return journal::NameOfKvmIoctl(request);
}

SyscallResult<int> FakeKvmVmFile::Ioctl(unsigned long request, void* arg) {
  return vm_->Ioctl(request, arg);
}

void FakeKvmVmFile::OnRelease() {
  vm_->OnVmReleased();
  vm_.reset();
}

FakeKvmVcpuFile::FakeKvmVcpuFile(std::shared_ptr<FakeKvmVm> vm,
                                 std::shared_ptr<FakeVcpu> vcpu)
    : vm_(std::move(vm)), vcpu_(std::move(vcpu)) {}

FakeKvmVcpuFile::~FakeKvmVcpuFile() = default;

std::string FakeKvmVcpuFile::Describe() const {
  return absl::StrCat("vcpu ", vcpu_->id());
}

journal::Call FakeKvmVcpuFile::DescribeIoctl(unsigned long request,
                                             const void* arg) const {
  return journal::DescribeKvmIoctl(request, arg);
}

std::string_view FakeKvmVcpuFile::IoctlName(unsigned long request) const {
  return journal::NameOfKvmIoctl(request);
}

bool FakeKvmVcpuFile::RunsUnlocked(unsigned long request) const {
  return request == KVM_RUN;
}

// Answers like kvm_vcpu_ioctl() and kvm_arch_vcpu_ioctl().
SyscallResult<int> FakeKvmVcpuFile::Ioctl(unsigned long request, void* arg) {
  if (vm_->IsForeignProcess()) return {.error = EIO};
  switch (request) {
    case KVM_RUN:
      if (arg != nullptr) return {.error = EINVAL};
      return vcpu_->Run();
    case KVM_GET_REGS:
      return GetState(arg, vcpu_->regs());
    case KVM_SET_REGS:
      return SetState(arg, vcpu_->regs());
    case KVM_GET_SREGS:
      return GetState(arg, vcpu_->sregs());
    case KVM_SET_SREGS:
      return SetState(arg, vcpu_->sregs());
    case KVM_SET_CPUID2:
      return {.error = SetCpuid(arg)};
    case KVM_SET_MSRS:
      return vcpu_->stored_state().SetMsrs(arg);
    case KVM_GET_MSRS:
      return vcpu_->stored_state().GetMsrs(arg);
    case KVM_SET_VAPIC_ADDR:
      if (vm_->irqchip_mode() == IrqchipMode::kNone) return {.error = EINVAL};
      return {.error = journal::CopyFromUser<kvm_vapic_addr>(arg).has_value()
                           ? 0
                           : EFAULT};
    case KVM_TPR_ACCESS_REPORTING: {
      const auto control = journal::CopyFromUser<kvm_tpr_access_ctl>(arg);
      if (!control.has_value()) return {.error = EFAULT};
      return {.error = control->flags == 0 ? 0 : EINVAL};
    }
    case KVM_GET_LAPIC:
    case KVM_SET_LAPIC:
      if (vm_->irqchip_mode() == IrqchipMode::kNone) return {.error = EINVAL};
      return *vcpu_->stored_state().Ioctl(request, arg);
    case KVM_X86_SETUP_MCE:
      return {.error = SetupMce(arg)};
    case KVM_ENABLE_CAP:
      // kvm_vcpu_ioctl_enable_cap() knows those of Hyper-V.
      return {.error = journal::CopyFromUser<kvm_enable_cap>(arg).has_value()
                           ? EINVAL
                           : EFAULT};
    case KVM_SET_DEVICE_ATTR:
    case KVM_GET_DEVICE_ATTR:
    case KVM_HAS_DEVICE_ATTR:
      return {.error = DeviceAttribute(request, arg)};
    default:
      return vcpu_->stored_state()
          .Ioctl(request, arg)
          .value_or(SyscallResult<int>{.error = EINVAL});
  }
}

// Answers like kvm_vcpu_ioctl_device_attr(). The offset of the TSC is 0 and
// stays so, because guest programs read no TSC.
int FakeKvmVcpuFile::DeviceAttribute(unsigned long request, const void* arg) {
  const auto attribute = journal::CopyFromUser<kvm_device_attr>(arg);
  if (!attribute.has_value()) return EFAULT;
  if (attribute->group != KVM_VCPU_TSC_CTRL ||
      attribute->attr != KVM_VCPU_TSC_OFFSET) {
    return ENXIO;
  }
  void* const offset = journal::UserPointer(attribute->addr);
  switch (request) {
    case KVM_HAS_DEVICE_ATTR:
      return 0;
    case KVM_GET_DEVICE_ATTR:
      return journal::CopyToUser(offset, uint64_t{0}) ? 0 : EFAULT;
    default:
      return journal::CopyFromUser<uint64_t>(offset).has_value() ? 0 : EFAULT;
  }
}

// Checks like kvm_vcpu_ioctl_x86_setup_mce(). No guest has a machine check.
int FakeKvmVcpuFile::SetupMce(const void* arg) {
  constexpr uint64_t kBanks = 0xff;
  constexpr uint64_t kExtended = 0xff0000;
  const auto wanted = journal::CopyFromUser<uint64_t>(arg);
  if (!wanted.has_value()) return EFAULT;
  const uint64_t banks = *wanted & kBanks;
  if (banks == 0 || banks > kKvmMceBanks) return EINVAL;
  return (*wanted & ~(kKvmMceCapabilities | kBanks | kExtended)) == 0 ? 0
                                                                      : EINVAL;
}

// Checks whether kvm_vcpu_ioctl_set_cpuid2() would accept the list, and then
// drops it, because guest programs do not use CPUID.
int FakeKvmVcpuFile::SetCpuid(const void* arg) const {
  const auto header = journal::CopyFromUser<kvm_cpuid2>(arg);
  if (!header.has_value()) return EFAULT;
  if (header->nent > kMaxCpuidEntries) return E2BIG;
  kvm_cpuid_entry2 entries[kMaxCpuidEntries];
  const bool readable = journal::CopyFromUser(
      entries, static_cast<const char*>(arg) + offsetof(kvm_cpuid2, entries),
      header->nent * sizeof(entries[0]));
  return readable ? 0 : EFAULT;
}

SyscallResult<void*> FakeKvmVcpuFile::Mmap(void* address, size_t length,
                                           int protection, int flags,
                                           uint64_t offset) {
  return vcpu_->MapRun(address, length, protection, flags, offset);
}

void FakeKvmVcpuFile::OnRelease() {
  vm_->OnVcpuReleased(vcpu_->id());
  vm_.reset();
}

}  // namespace passthru::fake
