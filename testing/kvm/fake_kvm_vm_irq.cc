// SPDX-License-Identifier: Apache-2.0
//
// The interrupts of FakeKvmVm.
#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <string_view>
#include <utility>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_pins.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"
#include "passthru/testing/kvm/fake_kvm_vm.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Delivery modes, in data[10:8] of a message.
enum class DeliveryMode {
  kFixed = 0,
  kLowestPriority = 1,
  kSmi = 2,
  kRemoteRead = 3,
  kNmi = 4,
  kInit = 5,
  kStartup = 6,
  kExternal = 7,
};

constexpr uint32_t kBroadcast = 0xff;              // APIC_BROADCAST
constexpr uint32_t kX2apicBroadcast = 0xffffffff;  // X2APIC_BROADCAST

// The fields of a message (Intel SDM vol. 3, 11.11.1 and 11.11.2).
struct MessageTarget {
  uint32_t destination = 0;
  bool logical = false;
  bool lowest_priority = false;
  DeliveryMode mode = DeliveryMode::kFixed;
};

MessageTarget DecodeTarget(const guest::GuestInterrupt& message,
                           bool x2apic_ids) {
  const bool redirection_hint = (message.address & 0x8) != 0;
  MessageTarget target{
      .destination = static_cast<uint32_t>(message.address >> 12 & 0xff),
      .logical = (message.address & 0x4) != 0,
      .mode = static_cast<DeliveryMode>(message.data >> 8 & 0x7)};
  // As in x2apic_msg_addr, these are the upper 24 bits of a 32-bit APIC ID.
  if (x2apic_ids) {
    target.destination |=
        static_cast<uint32_t>(message.address >> 32) & 0xffffff00;
  }
  // kvm_irq_delivery_to_apic() lets all have a physical broadcast.
  if (target.mode == DeliveryMode::kLowestPriority && !target.logical &&
      target.destination == kBroadcast) {
    target.mode = DeliveryMode::kFixed;
  }
  target.lowest_priority =
      target.mode == DeliveryMode::kLowestPriority || redirection_hint;
  return target;
}

// Returns whether the target includes the vCPU, like kvm_apic_match_dest().
// Logical IDs are flat, as Linux programs them for up to 8 CPUs.
bool Matches(const MessageTarget& target, unsigned vcpu, bool has_software) {
  if (target.destination == kBroadcast) return true;
  if (!target.logical) return target.destination == vcpu;
  return has_software && vcpu < 8 && (target.destination >> vcpu & 1) != 0;
}

// Returns whether a local APIC takes the message, like __apic_accept_irq(). One
// that software has not enabled takes no vector.
bool Accepts(DeliveryMode mode, bool has_software, KernelVersion version) {
  switch (mode) {
    case DeliveryMode::kFixed:
    case DeliveryMode::kLowestPriority:
      return has_software;
    case DeliveryMode::kSmi:
      // The second address space is that of SMM.
      return KvmCapability(version, KVM_CAP_MULTI_ADDRESS_SPACE) > 1;
    case DeliveryMode::kExternal:
      return false;
    default:
      return true;
  }
}

}  // namespace

void FakeKvmVm::SetIrq(IrqSource source, uint32_t gsi, bool level,
                       std::string_view cause) {
  if (SetRoutedIrq(source, gsi, level, cause) >= 0 || !level) return;
  if (!routing_.Of(gsi).empty()) return;
  ++lost_interrupts_;
  journal::Call event{.name = "interrupt-lost", .subject = name()};
  event.Number("gsi", gsi).Text("cause", std::string(cause));
  core_->journal.RecordEvent(std::move(event));
}

int FakeKvmVm::SetRoutedIrq(IrqSource source, uint32_t gsi, bool level,
                            std::string_view cause) {
  int result = -1;
  for (const kvm_irq_routing_entry& route : routing_.Of(gsi)) {
    int delivered = -1;
    if (route.type == KVM_IRQ_ROUTING_MSI) {
      // kvm_set_msi() does nothing for the falling edge.
      if (level) {
        delivered =
            DeliverMsi({.address = uint64_t{route.u.msi.address_hi} << 32 |
                                   route.u.msi.address_lo,
                        .data = route.u.msi.data},
                       cause, gsi);
      }
    } else if (route.u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC) {
      delivered = pins_.SetIoapic(source, route.u.irqchip.pin, level);
    } else {
      const uint32_t first =
          route.u.irqchip.irqchip == KVM_IRQCHIP_PIC_SLAVE ? 8 : 0;
      delivered = pins_.SetPic(source, first + route.u.irqchip.pin, level);
    }
    if (delivered >= 0) result = delivered + (result < 0 ? 0 : result);
  }
  return result;
}

int FakeKvmVm::DeliverMsi(const guest::GuestInterrupt& message,
                          std::string_view cause, int64_t gsi) {
  core_->mutex.AssertHeld();
  const MessageTarget target = DecodeTarget(message, x2apic_ids_);
  int matched = 0;
  int accepted = 0;
  bool any_software = false;
  for (const auto& [id, vcpu] : vcpus_) {
    const bool has_software = vcpu->HasSoftware();
    any_software |= has_software;
    if (!Matches(target, id, has_software)) continue;
    if (target.lowest_priority && !has_software &&
        target.destination == kBroadcast) {
      continue;
    }
    // KVM looks a physical ID up in a map of the local APICs that it made when
    // the newest vCPU was not yet in its list, and makes anew when software
    // enables a local APIC (kvm_recalculate_apic_map()).
    if (!target.logical && target.destination != kBroadcast &&
        id == newest_vcpu_ && !has_software) {
      continue;
    }
    ++matched;
    if (!Accepts(target.mode, has_software, core_->version)) continue;
    if (has_software) vcpu->Inject(message);
    ++accepted;
    if (target.lowest_priority) break;
  }
  messages_.push_back(message);
  journal::Call event{.name = "msi", .subject = name()};
  event.Hex("address", message.address)
      .Hex("data", message.data)
      .Number("gsi", gsi)
      .Number("cpus", accepted)
      .Text("cause", std::string(cause));
  core_->journal.RecordEvent(std::move(event));
  if (matched > 0) return accepted;
  return IsLookedUp(target.destination, target.logical, any_software) ? 0 : -1;
}

// Returns whether KVM looks the destination up in its map of local APICs
// (kvm_irq_delivery_to_apic_fast()). Otherwise it asks one after another.
bool FakeKvmVm::IsLookedUp(uint32_t destination, bool logical,
                           bool any_software) const {
  if (vcpus_.empty() || destination == kBroadcast) return false;
  if (destination == kX2apicBroadcast && !broadcast_quirk_) return false;
  // Until 6.1 the map has no logical IDs as long as no local APIC is enabled.
  return !logical || any_software || core_->version > KernelVersion::k6_1;
}

// Answers like kvm_send_userspace_msi().
SyscallResult<int> FakeKvmVm::SignalMsi(const void* arg) {
  const auto msi = journal::CopyFromUser<kvm_msi>(arg);
  if (!msi.has_value()) return {.error = EFAULT};
  if (mode_ == IrqchipMode::kNone ||
      (msi->flags & ~uint32_t{KVM_MSI_VALID_DEVID}) != 0 ||
      FakeKvmRouting::MsiAddressIsInvalid(x2apic_ids_, msi->address_hi)) {
    return {.error = EINVAL};
  }
  const int delivered =
      DeliverMsi({.address = uint64_t{msi->address_hi} << 32 | msi->address_lo,
                  .data = msi->data},
                 "KVM_SIGNAL_MSI", /*gsi=*/-1);
  // kvm_send_userspace_msi() returns the -1 of kvm_set_msi().
  if (delivered < 0) return {.error = EPERM};
  return {.value = delivered};
}

// Answers like kvm_vm_ioctl_irq_line().
SyscallResult<int> FakeKvmVm::IrqLine(void* arg, bool report_status) {
  auto line = journal::CopyFromUser<kvm_irq_level>(arg);
  if (!line.has_value()) return {.error = EFAULT};
  if (mode_ == IrqchipMode::kNone) return {.error = ENXIO};
  line->status = SetRoutedIrq(IrqSource::kUserSpace, line->irq,
                              line->level != 0, "KVM_IRQ_LINE");
  if (report_status && !journal::CopyToUser(arg, *line))
    return {.error = EFAULT};
  return {};
}

}  // namespace passthru::fake
