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
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"
#include "passthru/testing/kvm/fake_kvm_vm.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// The fields of a message address (Intel SDM vol. 3, 11.11.1).
struct MessageTarget {
  uint32_t destination = 0;
  bool logical = false;
  bool lowest_priority = false;
};

MessageTarget DecodeTarget(const guest::GuestInterrupt& message,
                           bool x2apic_ids) {
  constexpr uint32_t kLowestPriority = 1;  // Delivery mode, in data[10:8].
  MessageTarget target{
      .destination = static_cast<uint32_t>(message.address >> 12 & 0xff),
      .logical = (message.address & 0x4) != 0,
      .lowest_priority = (message.data >> 8 & 0x7) == kLowestPriority};
  // As in x2apic_msg_addr, these are the upper 24 bits of a 32-bit APIC ID.
  if (x2apic_ids) {
    target.destination |=
        static_cast<uint32_t>(message.address >> 32) & 0xffffff00;
  }
  return target;
}

// Returns whether the target includes the vCPU. Logical IDs are flat, as Linux
// programs them for up to 8 CPUs.
bool Matches(const MessageTarget& target, unsigned vcpu) {
  if (target.logical) {
    return vcpu < 8 && (target.destination >> vcpu & 1) != 0;
  }
  return target.destination == vcpu || target.destination == 0xff;
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
      delivered = SetLine(source, route.u.irqchip.pin, level) ? 1 : 0;
    }
    if (delivered >= 0) result = delivered + (result < 0 ? 0 : result);
  }
  return result;
}

int FakeKvmVm::DeliverMsi(const guest::GuestInterrupt& message,
                          std::string_view cause, int64_t gsi) {
  core_->mutex.AssertHeld();
  const MessageTarget target = DecodeTarget(message, x2apic_ids_);
  int delivered = 0;
  for (const auto& [id, vcpu] : vcpus_) {
    // A local APIC that software has not enabled takes no message.
    if (!Matches(target, id) || !vcpu->HasSoftware()) continue;
    vcpu->Inject(message);
    ++delivered;
    if (target.lowest_priority) break;
  }
  messages_.push_back(message);
  journal::Call event{.name = "msi", .subject = name()};
  event.Hex("address", message.address)
      .Hex("data", message.data)
      .Number("gsi", gsi)
      .Number("cpus", delivered)
      .Text("cause", std::string(cause));
  core_->journal.RecordEvent(std::move(event));
  return delivered;
}

bool FakeKvmVm::SetLine(IrqSource source, uint32_t pin, bool level) {
  unsigned& sources = lines_[pin];
  const bool before = sources != 0;
  const unsigned bit = 1u << static_cast<unsigned>(source);
  sources = level ? sources | bit : sources & ~bit;
  return (sources != 0) != before;
}

bool FakeKvmVm::LineLevel(uint32_t pin) const {
  const auto found = lines_.find(pin);
  return found != lines_.end() && found->second != 0;
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
  // Without a local APIC, kvm_irq_delivery_to_apic() returns -1, and the ioctl
  // returns that.
  if (vcpus_.empty()) return {.error = EPERM};
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
