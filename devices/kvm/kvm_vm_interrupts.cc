// SPDX-License-Identifier: Apache-2.0
// Implements interrupts::InterruptController and interrupts::LineController for
// KvmVm.

#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/pci/msi_message.h"

namespace passthru::kvm {

using kernel::ErrnoError;
using kernel::SyscallResult;

absl::Status KvmVm::SetIrqfd(const kvm_irqfd& irqfd, std::string_view what) {
  kvm_irqfd argument = irqfd;
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_IRQFD, &argument);
  if (!result.ok()) {
    return ErrnoError(result.error,
                      absl::StrFormat("KVM_IRQFD(%s, eventfd=%d, gsi=%d)", what,
                                      irqfd.fd, irqfd.gsi));
  }
  return absl::OkStatus();
}

absl::Status KvmVm::AssignIrqfd(int event_fd, allocator::Gsi gsi) {
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(event_fd);
  irqfd.gsi = gsi.value();
  return SetIrqfd(irqfd, "assign");
}

absl::Status KvmVm::CheckResampleIrqfd() const {
  if (has_kernel_ioapic_) return absl::OkStatus();
  // kvm_arch_irqfd_allowed() demands irqchip_full().
  return absl::FailedPreconditionError(
      "the VM's IOAPIC is not in the kernel (split irqchip), and KVM has "
      "level-triggered irqfds only with one that is");
}

absl::Status KvmVm::AssignResampleIrqfd(int event_fd, int resample_fd,
                                        allocator::Gsi gsi) {
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(event_fd);
  irqfd.gsi = gsi.value();
  irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE;
  irqfd.resamplefd = static_cast<uint32_t>(resample_fd);
  return SetIrqfd(irqfd, "assign with resample");
}

absl::Status KvmVm::DeassignIrqfd(int event_fd, allocator::Gsi gsi) {
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(event_fd);
  irqfd.gsi = gsi.value();
  irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
  return SetIrqfd(irqfd, "deassign");
}

absl::Status KvmVm::SetGsiRouting(
    absl::Span<const kvm_irq_routing_entry> entries) {
  if (entries.size() > max_routes_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "KVM_SET_GSI_ROUTING: %d routes; this host's KVM takes %d",
        entries.size(), max_routes_));
  }
  kernel::FlexArray<kvm_irq_routing, kvm_irq_routing_entry> table(
      entries.size());
  table.header().nr = static_cast<uint32_t>(entries.size());
  std::copy(entries.begin(), entries.end(), table.elements().begin());
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SET_GSI_ROUTING, table.data());
  if (!result.ok()) {
    std::string what =
        absl::StrCat("KVM_SET_GSI_ROUTING(", entries.size(), " routes)");
    const bool names_irqchip = std::any_of(
        entries.begin(), entries.end(), [](const kvm_irq_routing_entry& entry) {
          return entry.type == KVM_IRQ_ROUTING_IRQCHIP;
        });
    if (result.error == EINVAL && !has_kernel_ioapic_ && names_irqchip) {
      what +=
          ": the table has entries for an irqchip, but the VM's IOAPIC is not "
          "in the kernel; take the base routes from KvmVm::BaseRoutes()";
    }
    return ErrnoError(result.error, what);
  }
  return absl::OkStatus();
}

absl::Status KvmVm::SignalMsi(const pci::MsiMessage& message) {
  kvm_msi msi = {};
  const uint64_t address = interrupts::KvmMsiAddress(message);
  msi.address_lo = static_cast<uint32_t>(address);
  msi.address_hi = static_cast<uint32_t>(address >> 32);
  msi.data = message.data;
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SIGNAL_MSI, &msi);
  // KVM returns 0 if no local APIC accepts the message. If no local APIC is
  // enabled, kvm_irq_delivery_to_apic() returns -1, which reads as EPERM here.
  // Neither is a failure.
  if (!result.ok() && result.error != EPERM) {
    return ErrnoError(result.error,
                      absl::StrFormat("KVM_SIGNAL_MSI(address=0x%x, data=0x%x)",
                                      message.address, message.data));
  }
  return absl::OkStatus();
}

absl::Status KvmVm::SetLine(allocator::Gsi gsi, bool asserted) {
  kvm_irq_level line = {};
  line.irq = gsi.value();
  line.level = asserted ? 1 : 0;
  const SyscallResult<int> result = syscalls_->Ioctl(fd(), KVM_IRQ_LINE, &line);
  if (!result.ok()) {
    return ErrnoError(result.error, absl::StrFormat("KVM_IRQ_LINE(%d, %d)",
                                                    line.irq, line.level));
  }
  return absl::OkStatus();
}

}  // namespace passthru::kvm
