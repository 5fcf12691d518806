// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_kvm.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"
#include "passthru/testing/kvm/fake_kvm_files.h"
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/kvm/fake_kvm_vm.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {

using kernel::SyscallResult;

namespace {

// Answers like kvm_dev_ioctl_get_cpuid(), with no more than VMMs check before
// they pass the list on to KVM_SET_CPUID2: a vendor, an APIC, long mode and the
// size of addresses.
SyscallResult<int> GetSupportedCpuid(unsigned physical_address_bits,
                                     void* arg) {
  constexpr uint32_t kVirtualAddressBits = 48;
  constexpr uint32_t kProcessor = 0x306a9;
  // SSE3, CMPXCHG16B and x2APIC.
  constexpr uint32_t kFeatures = 1u << 0 | 1u << 13 | 1u << 21;
  // What each processor with long mode has, an APIC among it.
  constexpr uint32_t kOldFeatures = 0x078bfbff;
  const kvm_cpuid_entry2 entries[] = {
      {.function = 0,
       .eax = 1,
       .ebx = 0x756e6547,  // "GenuineIntel"
       .ecx = 0x6c65746e,
       .edx = 0x49656e69},
      {.function = 1, .eax = kProcessor, .ecx = kFeatures, .edx = kOldFeatures},
      {.function = 0x80000000, .eax = 0x80000008},
      {.function = 0x80000001, .edx = 1u << 29},
      {.function = 0x80000008,
       .eax = kVirtualAddressBits << 8 | physical_address_bits},
  };
  constexpr uint32_t kCount = std::size(entries);
  auto header = journal::CopyFromUser<kvm_cpuid2>(arg);
  if (!header.has_value()) return {.error = EFAULT};
  if (header->nent < kCount) return {.error = E2BIG};
  header->nent = kCount;
  const bool written = journal::CopyToUser(static_cast<char*>(arg) +
                                               offsetof(kvm_cpuid2, entries),
                                           entries, sizeof(entries)) &&
                       journal::CopyToUser(arg, *header);
  return {.error = written ? 0 : EFAULT};
}

// Answers like kvm_x86_dev_get_attr() and kvm_x86_dev_has_attr(). The fake's
// vCPUs have the state of x87 and SSE.
int SystemAttribute(unsigned long request, const void* arg) {
  constexpr uint64_t kSupportedXcr0 = 0x3;
  const auto attribute = journal::CopyFromUser<kvm_device_attr>(arg);
  if (!attribute.has_value()) return EFAULT;
  if (attribute->group != 0 || attribute->attr != KVM_X86_XCOMP_GUEST_SUPP) {
    return ENXIO;
  }
  if (request == KVM_HAS_DEVICE_ATTR) return 0;
  return journal::CopyToUser(journal::UserPointer(attribute->addr),
                             kSupportedXcr0)
             ? 0
             : EFAULT;
}

// Answers like kvm_arch_dev_ioctl() of a CPU whose registers need not be saved.
int ListNoMsrs(void* arg) {
  auto list = journal::CopyFromUser<kvm_msr_list>(arg);
  if (!list.has_value()) return EFAULT;
  list->nmsrs = 0;
  return journal::CopyToUser(arg, *list) ? 0 : EFAULT;
}

}  // namespace

// /dev/kvm (kvm_chardev_ops).
class FakeKvmSystemFile final : public FakeFile {
 public:
  explicit FakeKvmSystemFile(FakeKvm* kvm) : kvm_(kvm) {}

  std::string Describe() const override { return "/dev/kvm"; }

  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override {
    return journal::DescribeKvmIoctl(request, arg);
  }
  std::string_view IoctlName(unsigned long request) const override {
    return journal::NameOfKvmIoctl(request);
  }

  // Answers like kvm_dev_ioctl().
  SyscallResult<int> Ioctl(unsigned long request, void* arg) override {
    const auto integer = reinterpret_cast<uintptr_t>(arg);
    switch (request) {
      case KVM_GET_API_VERSION:
        if (integer != 0) break;
        return {.value = KVM_API_VERSION};
      case KVM_CREATE_VM:
        // The fake has no types of protected VMs.
        if (integer != 0) break;
        kvm_->core_->mutex.AssertHeld();
        return kvm_->CreateVm();
      case KVM_CHECK_EXTENSION:
        return {.value = KvmCapability(kvm_->core_->version, integer)};
      case KVM_GET_VCPU_MMAP_SIZE:
        if (integer != 0) break;
        return {.value = static_cast<int>(kVcpuMmapSize)};
      case KVM_GET_DEVICE_ATTR:
      case KVM_HAS_DEVICE_ATTR:
        return {.error = SystemAttribute(request, arg)};
      case KVM_X86_GET_MCE_CAP_SUPPORTED:
        return {.error =
                    journal::CopyToUser(arg, kKvmMceCapabilities) ? 0 : EFAULT};
      case KVM_GET_MSR_INDEX_LIST:
      case KVM_GET_MSR_FEATURE_INDEX_LIST:
        return {.error = ListNoMsrs(arg)};
      case KVM_GET_SUPPORTED_CPUID:
        return GetSupportedCpuid(kvm_->physical_address_bits_, arg);
      default:
        break;
    }
    return {.error = EINVAL};
  }

 private:
  FakeKvm* const kvm_;
};

FakeKvm::FakeKvm(KernelCore* core, Options options)
    : core_(core),
      physical_address_bits_(options.physical_address_bits),
      guest_wait_limit_(options.guest_wait_limit) {}

FakeKvm::~FakeKvm() { StopGuests(); }

void FakeKvm::Register() {
  core_->paths.AddCharacterDevice("/dev/kvm", [this](int) {
    return SyscallResult<std::shared_ptr<FakeFile>>{
        .value = std::make_shared<FakeKvmSystemFile>(this)};
  });
}

SyscallResult<int> FakeKvm::CreateVm() {
  auto vm = std::make_shared<FakeKvmVm>(FakeKvmVm::Options{
      .core = core_,
      .number = vms_.size() + 1,
      .physical_address_bits = physical_address_bits_,
      .program =
          [this](unsigned vcpu) {
            core_->mutex.AssertHeld();
            const auto found = programs_.find(vcpu);
            return found == programs_.end() ? guest::GuestProgram()
                                            : found->second;
          },
      .step_hardware =
          [this] {
            core_->mutex.AssertHeld();
            return step_hardware_ != nullptr && step_hardware_();
          },
      .on_vcpu_created =
          [this](std::shared_ptr<FakeVcpu> vcpu) {
            core_->mutex.AssertHeld();
            vcpus_.push_back(std::move(vcpu));
          },
      .reap =
          [this](std::thread guest) {
            core_->mutex.AssertHeld();
            if (guest.joinable()) stopped_guests_.push_back(std::move(guest));
          },
      .guest_wait_limit =
          [this] {
            core_->mutex.AssertHeld();
            return guest_wait_limit_;
          }});
  vms_.push_back(vm);
  return core_->files.Install(std::make_shared<FakeKvmVmFile>(std::move(vm)));
}

std::shared_ptr<FakeKvmVm> FakeKvm::NewestVm() const {
  for (auto vm = vms_.rbegin(); vm != vms_.rend(); ++vm) {
    if (auto alive = vm->lock()) return alive;
  }
  return nullptr;
}

void FakeKvm::SetGuestProgram(unsigned vcpu, guest::GuestProgram program) {
  const absl::MutexLock lock(&core_->mutex);
  programs_[vcpu] = std::move(program);
}

std::optional<absl::Status> FakeKvm::GuestStatus(unsigned vcpu) const {
  const absl::MutexLock lock(&core_->mutex);
  for (auto each = vcpus_.rbegin(); each != vcpus_.rend(); ++each) {
    if ((*each)->id() == vcpu) return (*each)->guest_status();
  }
  return std::nullopt;
}

void FakeKvm::SetGuestWaitLimit(absl::Duration limit) {
  const absl::MutexLock lock(&core_->mutex);
  guest_wait_limit_ = limit;
}

void FakeKvm::StopGuests() {
  {
    const absl::MutexLock lock(&core_->mutex);
    for (const auto& vcpu : vcpus_) {
      std::thread guest = vcpu->Stop();
      if (guest.joinable()) stopped_guests_.push_back(std::move(guest));
    }
  }
  JoinStoppedGuests();
}

void FakeKvm::JoinStoppedGuests() {
  std::vector<std::thread> stopped;
  {
    const absl::MutexLock lock(&core_->mutex);
    stopped.swap(stopped_guests_);
  }
  for (std::thread& guest : stopped) guest.join();
}

void FakeKvm::set_step_hardware(std::function<bool()> step) {
  const absl::MutexLock lock(&core_->mutex);
  step_hardware_ = std::move(step);
}

FakeExitCounts FakeKvm::ExitCounts() const {
  const absl::MutexLock lock(&core_->mutex);
  FakeExitCounts sum;
  for (const auto& vcpu : vcpus_) sum += vcpu->counts();
  return sum;
}

std::vector<FakeKvmSlot> FakeKvm::Slots() const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  if (vm == nullptr) return {};
  return vm->slots().All();
}

std::vector<kvm_irq_routing_entry> FakeKvm::Routes() const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  if (vm == nullptr) return {};
  return vm->routing().All();
}

std::vector<FakeKvmIrqfds::Assigned> FakeKvm::Irqfds() const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  if (vm == nullptr) return {};
  return vm->irqfds().All();
}

std::vector<guest::GuestInterrupt> FakeKvm::Messages(size_t skip) const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  if (vm == nullptr || vm->messages().size() < skip) return {};
  return {vm->messages().begin() + static_cast<ptrdiff_t>(skip),
          vm->messages().end()};
}

size_t FakeKvm::LostInterrupts() const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  return vm == nullptr ? 0 : vm->lost_interrupts();
}

bool FakeKvm::LineLevel(uint32_t pin) const {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  return vm != nullptr && vm->LineLevel(pin);
}

void FakeKvm::Acknowledge(uint32_t gsi) {
  const absl::MutexLock lock(&core_->mutex);
  const auto vm = NewestVm();
  if (vm != nullptr) vm->Acknowledge(gsi);
}

void FakeKvm::ForEachVm(absl::FunctionRef<void(const VmTables&)> visit) const {
  core_->mutex.AssertHeld();
  for (const auto& each : vms_) {
    const auto vm = each.lock();
    if (vm == nullptr) continue;
    visit({.name = vm->name(),
           .process = vm->task(),
           .slots = vm->slots(),
           .routing = vm->routing(),
           .irqfds = vm->irqfds()});
  }
}

void FakeKvm::AppendResources(std::vector<std::string>& resources) const {
  core_->mutex.AssertHeld();
  for (const auto& each : vms_) {
    if (const auto vm = each.lock()) vm->AppendResources(resources);
  }
}

}  // namespace passthru::fake
