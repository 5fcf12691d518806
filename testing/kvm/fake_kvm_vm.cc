// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_vm.h"

#include <linux/kvm.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"
#include "passthru/testing/kvm/fake_kvm_files.h"
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"
#include "passthru/testing/kvm/fake_kvm_vfio_device.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Returns the process that makes the call.
pid_t ThisProcess() {
  const pid_t task = journal::CurrentProcess();
  return task == 0 ? ::getpid() : task;
}

}  // namespace

FakeKvmVm::FakeKvmVm(Options options)
    : options_(std::move(options)),
      core_(options_.core),
      process_(ThisProcess()),
      task_(journal::CurrentProcess()),
      slots_(core_->version, options_.physical_address_bits),
      irqfds_(core_, this),
      ioeventfds_(core_) {}

FakeKvmVm::~FakeKvmVm() = default;

// Answers like kvm_vm_ioctl() and kvm_arch_vm_ioctl().
SyscallResult<int> FakeKvmVm::Ioctl(unsigned long request, void* arg) {
  if (IsForeignProcess()) return {.error = EIO};
  const auto integer = reinterpret_cast<uintptr_t>(arg);
  switch (request) {
    case KVM_CHECK_EXTENSION:
      return {.value = KvmCapability(core_->version, integer)};
    case KVM_CREATE_VCPU:
      return CreateVcpu(integer);
    case KVM_SET_USER_MEMORY_REGION:
      return {.error = SetMemoryRegion(arg)};
    case KVM_SET_USER_MEMORY_REGION2:
      if (KvmCapability(core_->version, KVM_CAP_USER_MEMORY2) == 0) break;
      return {.error = SetMemoryRegion2(arg)};
    case KVM_SET_TSS_ADDR:
      // kvm_vm_ioctl_set_tss_addr() wants three pages below 4 GiB.
      return {.error = integer > uint32_t{0} - 3 * uint32_t{kKvmPageSize}
                           ? EINVAL
                           : 0};
    case KVM_SET_IDENTITY_MAP_ADDR:
      return {.error = SetIdentityMapAddress(arg)};
    case KVM_CREATE_IRQCHIP:
      return {.error = CreateIrqchip()};
    case KVM_GET_IRQCHIP:
      return {.error = GetIrqchip(arg)};
    case KVM_SET_IRQCHIP:
      return {.error = SetIrqchip(arg)};
    case KVM_CREATE_PIT2:
      return {.error = CreatePit(arg)};
    case KVM_ENABLE_CAP:
      return {.error = EnableCapability(arg)};
    case KVM_SET_GSI_ROUTING:
      return {.error = SetGsiRouting(arg)};
    case KVM_IRQFD: {
      const auto irqfd = journal::CopyFromUser<kvm_irqfd>(arg);
      return {.error = irqfd.has_value() ? irqfds_.Set(*irqfd, mode_) : EFAULT};
    }
    case KVM_IOEVENTFD: {
      const auto ioeventfd = journal::CopyFromUser<kvm_ioeventfd>(arg);
      return {.error =
                  ioeventfd.has_value() ? ioeventfds_.Set(*ioeventfd) : EFAULT};
    }
    case KVM_SIGNAL_MSI:
      return SignalMsi(arg);
    case KVM_IRQ_LINE:
      return IrqLine(arg, /*report_status=*/false);
    case KVM_IRQ_LINE_STATUS:
      return IrqLine(arg, /*report_status=*/true);
    case KVM_CREATE_DEVICE:
      return CreateDevice(arg);
    case KVM_GET_PIT2:
    case KVM_SET_PIT2: {
      // kvm_arch_vm_ioctl() copies before it looks for the PIT.
      if (request == KVM_SET_PIT2 &&
          !journal::CopyFromUser<kvm_pit_state2>(arg).has_value()) {
        return {.error = EFAULT};
      }
      if (!has_pit_) return {.error = ENXIO};
      return *stored_state_.Ioctl(request, arg);
    }
    default:
      return stored_state_.Ioctl(request, arg)
          .value_or(SyscallResult<int>{.error = ENOTTY});
  }
  return {.error = ENOTTY};
}

bool FakeKvmVm::IsForeignProcess() const { return ThisProcess() != process_; }

int FakeKvmVm::SetMemoryRegion(const void* arg) {
  const auto region = journal::CopyFromUser<kvm_userspace_memory_region>(arg);
  return region.has_value() ? slots_.Set(*region) : EFAULT;
}

// The fake has no guest_memfd, and so refuses its flag as unknown.
int FakeKvmVm::SetMemoryRegion2(const void* arg) {
  const auto region = journal::CopyFromUser<kvm_userspace_memory_region2>(arg);
  if (!region.has_value()) return EFAULT;
  return slots_.Set({.slot = region->slot,
                     .flags = region->flags,
                     .guest_phys_addr = region->guest_phys_addr,
                     .memory_size = region->memory_size,
                     .userspace_addr = region->userspace_addr});
}

int FakeKvmVm::SetIdentityMapAddress(const void* arg) {
  if (!vcpus_.empty()) return EINVAL;
  return journal::CopyFromUser<uint64_t>(arg).has_value() ? 0 : EFAULT;
}

int FakeKvmVm::CreateIrqchip() {
  if (mode_ != IrqchipMode::kNone) return EEXIST;
  if (!vcpus_.empty()) return EINVAL;
  mode_ = IrqchipMode::kKernel;
  routing_.SetDefault();
  return 0;
}

int FakeKvmVm::CreatePit(const void* arg) {
  if (!journal::CopyFromUser<kvm_pit_config>(arg).has_value()) return EFAULT;
  if (has_pit_) return EEXIST;
  // 6.1 does not check this. Its PIT is useless without an irqchip.
  if (mode_ != IrqchipMode::kKernel && core_->version >= KernelVersion::k6_12) {
    return ENOENT;
  }
  has_pit_ = true;
  return 0;
}

// Answers like kvm_vm_ioctl_enable_cap().
int FakeKvmVm::EnableCapability(const void* arg) {
  const auto capability = journal::CopyFromUser<kvm_enable_cap>(arg);
  if (!capability.has_value()) return EFAULT;
  if (capability->flags != 0) return EINVAL;
  switch (capability->cap) {
    case KVM_CAP_SPLIT_IRQCHIP:
      return EnableSplitIrqchip(*capability);
    case KVM_CAP_X2APIC_API: {
      constexpr uint64_t kKnown =
          KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
      if ((capability->args[0] & ~kKnown) != 0) return EINVAL;
      if ((capability->args[0] & KVM_X2APIC_API_USE_32BIT_IDS) != 0) {
        x2apic_ids_ = true;
      }
      if ((capability->args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK) != 0) {
        broadcast_quirk_ = false;
      }
      return 0;
    }
    default:
      return EINVAL;
  }
}

int FakeKvmVm::EnableSplitIrqchip(const kvm_enable_cap& capability) {
  // MAX_NR_RESERVED_IOAPIC_PINS has the same value.
  if (capability.args[0] > kKvmMaxIrqRoutes) return EINVAL;
  if (mode_ != IrqchipMode::kNone || !vcpus_.empty()) return EEXIST;
  mode_ = IrqchipMode::kSplit;
  return 0;
}

// Answers with the state after a reset (measured on Linux 6.18). No guest of
// the fake programs the PICs or the IOAPIC, so theirs stays so.
int FakeKvmVm::GetIrqchip(void* arg) {
  auto chip = journal::CopyFromUser<kvm_irqchip>(arg);
  if (!chip.has_value()) return EFAULT;
  if (mode_ != IrqchipMode::kKernel) return ENXIO;
  if (const auto set = irqchips_.find(chip->chip_id); set != irqchips_.end()) {
    return journal::CopyToUser(arg, set->second) ? 0 : EFAULT;
  }
  switch (chip->chip_id) {
    case KVM_IRQCHIP_PIC_MASTER:
      chip->chip.pic = {};
      chip->chip.pic.elcr_mask = 0xf8;
      break;
    case KVM_IRQCHIP_PIC_SLAVE:
      chip->chip.pic = {};
      chip->chip.pic.elcr_mask = 0xde;
      break;
    case KVM_IRQCHIP_IOAPIC:
      chip->chip.ioapic = {};
      chip->chip.ioapic.base_address = 0xfec00000;
      for (auto& entry : chip->chip.ioapic.redirtbl) entry.fields.mask = 1;
      break;
    default:
      return EINVAL;
  }
  return journal::CopyToUser(arg, *chip) ? 0 : EFAULT;
}

// Keeps the state for GetIrqchip(). The pins do not follow it.
int FakeKvmVm::SetIrqchip(const void* arg) {
  const auto chip = journal::CopyFromUser<kvm_irqchip>(arg);
  if (!chip.has_value()) return EFAULT;
  if (mode_ != IrqchipMode::kKernel) return ENXIO;
  if (chip->chip_id > KVM_IRQCHIP_IOAPIC) return EINVAL;
  irqchips_[chip->chip_id] = *chip;
  return 0;
}

int FakeKvmVm::SetGsiRouting(const void* arg) {
  const auto header = journal::CopyFromUser<kvm_irq_routing>(arg);
  if (!header.has_value()) return EFAULT;
  if (mode_ == IrqchipMode::kNone) return EINVAL;
  if (header->nr > kKvmMaxIrqRoutes || header->flags != 0) return EINVAL;
  std::vector<kvm_irq_routing_entry> entries(header->nr);
  if (!journal::CopyFromUser(
          entries.data(),
          static_cast<const char*>(arg) + offsetof(kvm_irq_routing, entries),
          entries.size() * sizeof(entries[0]))) {
    return EFAULT;
  }
  return routing_.Set(mode_, x2apic_ids_, entries);
}

SyscallResult<int> FakeKvmVm::CreateVcpu(unsigned long id) {
  core_->mutex.AssertHeld();
  if (id >= KvmMaxVcpuIds(core_->version)) return {.error = EINVAL};
  if (vcpus_.size() >= KvmMaxVcpus(core_->version)) return {.error = EINVAL};
  if (vcpus_.contains(static_cast<unsigned>(id))) {
    // kvm_arch_vcpu_create() has already made the map of local APICs anew.
    newest_vcpu_.reset();
    return {.error = EEXIST};
  }
  const auto number = static_cast<unsigned>(id);
  auto vcpu = FakeVcpu::Create(
      {.core = core_,
       .platform = this,
       .id = number,
       .program = [this, number] { return options_.program(number); }});
  if (!vcpu.ok()) return {.error = vcpu.error};
  const auto fd = core_->files.Install(
      std::make_shared<FakeKvmVcpuFile>(shared_from_this(), vcpu.value));
  if (fd.ok()) {
    vcpus_[number] = vcpu.value;
    newest_vcpu_ = number;
    options_.on_vcpu_created(vcpu.value);
  }
  return fd;
}

// Answers like kvm_ioctl_create_device().
SyscallResult<int> FakeKvmVm::CreateDevice(void* arg) {
  core_->mutex.AssertHeld();
  auto request = journal::CopyFromUser<kvm_create_device>(arg);
  if (!request.has_value()) return {.error = EFAULT};
  if (request->type != KVM_DEV_TYPE_VFIO) return {.error = ENODEV};
  if ((request->flags & KVM_CREATE_DEVICE_TEST) != 0) return {};
  // kvm_vfio_create() allows one VFIO device for each VM.
  if (has_vfio_device_) return {.error = EBUSY};
  const auto fd = core_->files.Install(
      std::make_shared<FakeKvmVfioDevice>(core_, shared_from_this()));
  if (!fd.ok()) return fd;
  has_vfio_device_ = true;
  request->fd = static_cast<uint32_t>(fd.value);
  if (!journal::CopyToUser(arg, *request)) {
    // As in kvm_vm_ioctl(), the descriptor stays open, but the caller does not
    // learn its number.
    return {.error = EFAULT};
  }
  return {};
}

void FakeKvmVm::OnVmReleased() {
  vm_released_ = true;
  irqfds_.ReleaseAll();
}

void FakeKvmVm::OnVcpuReleased(unsigned id) {
  core_->mutex.AssertHeld();
  const auto found = vcpus_.find(id);
  if (found != vcpus_.end()) options_.reap(found->second->Stop());
}

void FakeKvmVm::StopGuests() {
  core_->mutex.AssertHeld();
  for (const auto& [id, vcpu] : vcpus_) options_.reap(vcpu->Stop());
}

FakeVcpu* FakeKvmVm::vcpu(unsigned id) const {
  const auto found = vcpus_.find(id);
  return found == vcpus_.end() ? nullptr : found->second.get();
}

std::optional<VcpuPlatform::Backing> FakeKvmVm::Translate(
    uint64_t guest_address) {
  const FakeKvmSlot* const slot = slots_.Find(guest_address);
  if (slot == nullptr) return std::nullopt;
  return Backing{.host_address =
                     slot->host_address + (guest_address - slot->guest_address),
                 .read_only = slot->read_only()};
}

bool FakeKvmVm::OnUnbackedWrite(bool pio, uint64_t address, unsigned width,
                                uint64_t value) {
  return ioeventfds_.OnWrite(pio, address, width, value);
}

void FakeKvmVm::AppendResources(std::vector<std::string>& resources) const {
  const std::string name = this->name();
  for (const FakeKvmSlot& slot : slots_.All()) {
    resources.push_back(absl::StrFormat(
        "%s: memory slot %u [0x%x, +0x%x) on host 0x%x", name, slot.slot,
        slot.guest_address, slot.size, slot.host_address));
  }
  for (const auto& irqfd : irqfds_.All()) {
    resources.push_back(absl::StrFormat("%s: irqfd of %s on GSI %u", name,
                                        irqfd.eventfd, irqfd.gsi));
  }
  if (ioeventfds_.size() > 0) {
    resources.push_back(
        absl::StrCat(name, ": ", ioeventfds_.size(), " ioeventfds"));
  }
  for (const kvm_irq_routing_entry& route : routing_.All()) {
    if (route.type != KVM_IRQ_ROUTING_MSI) continue;
    resources.push_back(absl::StrFormat(
        "%s: route of GSI %u to 0x%x/0x%x", name, route.gsi,
        uint64_t{route.u.msi.address_hi} << 32 | route.u.msi.address_lo,
        route.u.msi.data));
  }
}

}  // namespace passthru::fake
