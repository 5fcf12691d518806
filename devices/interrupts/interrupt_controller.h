// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_
#define PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_

#include "absl/status/status.h"
#include "passthru/allocator/gsi.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// The narrow interface through which interrupts are injected into one VM.
// kvm::KvmVm implements it over /dev/kvm's VM descriptor. A VMM that owns its
// VM descriptor implements these calls over that descriptor.
//
// Every call but CheckResampleIrqfd() is one system call, and a failure carries
// the kernel's errno (kernel::ErrnoOf). Implementations must be thread-safe,
// because device threads, vCPU threads and the event loop call concurrently.
// Some callers hold a device's interrupt mutex, so an implementation must not
// call back.
class InterruptController {
 public:
  virtual ~InterruptController() = default;

  // Makes the kernel consume each signal of `event_fd` and inject what the
  // route of `gsi` says at that moment (KVM_IRQFD). A count that is already
  // pending triggers at once. An eventfd has at most one irqfd (EBUSY).
  virtual absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) = 0;

  // Returns OK if AssignResampleIrqfd() can work in this VM, or else why not,
  // as a clause for the device's report. A device is then shown without its
  // interrupt pin. Makes no system call.
  virtual absl::Status CheckResampleIrqfd() const { return absl::OkStatus(); }

  // Assigns a level-triggered irqfd (KVM_IRQFD with KVM_IRQFD_FLAG_RESAMPLE). A
  // signal of `event_fd` asserts `gsi`. When the guest acknowledges the
  // interrupt, the kernel deasserts `gsi` and signals `resample_fd`.
  virtual absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                           allocator::Gsi gsi) = 0;

  // Removes the irqfd (KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN). Once this
  // returns, no injection caused by `event_fd` is in flight, and later signals
  // stay in its counter.
  virtual absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) = 0;

  // Injects `message` now, without a route (KVM_SIGNAL_MSI). It is not an error
  // if no CPU accepts the message (the kernel returns 0), because hardware
  // would not know either.
  virtual absl::Status SignalMsi(const pci::MsiMessage& message) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_CONTROLLER_H_
