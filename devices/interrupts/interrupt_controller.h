// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_
#define PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_

#include <linux/kvm.h>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// What injects interrupts into one VM: the narrow interface a VMM brings.
// kvm::KvmVm implements it over /dev/kvm's VM descriptor; a VMM that owns its
// VM descriptor implements these five calls over it.
//
// Every call maps to one system call, and a failure carries the kernel's errno
// (kernel::ErrnoOf). Implementations are thread-safe: device threads, vCPU
// threads and the event loop call concurrently, some while holding a device's
// interrupt mutex, so an implementation must not call back into its caller.
class InterruptController {
 public:
  virtual ~InterruptController() = default;

  // KVM_IRQFD: from now on each signal of `event_fd` is consumed by the kernel
  // and injected as `gsi` says at that moment. A count that is already pending
  // triggers at once. An eventfd has at most one irqfd (EBUSY).
  virtual absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) = 0;

  // KVM_IRQFD with KVM_IRQFD_FLAG_RESAMPLE: level-triggered. `event_fd` asserts
  // `gsi`; when the guest acknowledges, the kernel deasserts it and signals
  // `resample_fd`.
  virtual absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                           allocator::Gsi gsi) = 0;

  // KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN. Synchronous: on return no injection
  // caused by `event_fd` is in flight, and signals stay in its counter.
  virtual absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) = 0;

  // KVM_SET_GSI_ROUTING: atomically replaces the VM's whole table; on failure
  // the kernel keeps the old one.
  virtual absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) = 0;

  // KVM_SIGNAL_MSI: injects `message` now, without a route. That no CPU took
  // it (the kernel answers 0) is not an error: hardware would not know either.
  virtual absl::Status SignalMsi(const pci::MsiMessage& message) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_
