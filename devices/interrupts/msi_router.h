// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_
#define PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/gsi.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// The routes from GSIs to MSI messages that the devices of one VM share. The
// interface is narrow, so that a VMM that owns its routing table can implement
// it. GsiRouter is this library's implementation.
//
// A message is first staged, which costs no system call. It reaches the kernel
// with the next commit, together with everything else that is staged by then.
// Callers must not assign an irqfd before IsCommitted(), because the kernel
// accepts an irqfd without a route and loses its interrupts.
//
// Implementations must be thread-safe and must never call back into a device,
// because the caller holds the device's interrupt mutex.
class MsiRouter {
 public:
  virtual ~MsiRouter() = default;

  // Returns an unused GSI, which has no message yet, or kResourceExhausted if
  // the VM's table is full.
  virtual absl::StatusOr<allocator::Gsi> Allocate() = 0;

  // Releases `gsi`. The caller must have deassigned its irqfd. This makes no
  // system call. The next commit removes the entry from the kernel's table.
  virtual void Release(allocator::Gsi gsi) = 0;

  // Sets the message that `gsi` will inject after the next commit. Returns
  // kInvalidArgument and stages nothing if `message` is no interrupt, because
  // it would make the kernel refuse the VM's whole table.
  virtual absl::Status Stage(allocator::Gsi gsi,
                             const pci::MsiMessage& message) = 0;

  // Returns whether the kernel's table holds `message` for `gsi` now.
  virtual bool IsCommitted(allocator::Gsi gsi,
                           const pci::MsiMessage& message) const = 0;

  // Makes the kernel's table equal to what is staged, in one system call, or in
  // none if it is equal already.
  virtual absl::Status Commit() = 0;

  // Reports that user space just injected an interrupt of `gsi`, because its
  // staged message is not committed. Returns whether the message is committed
  // now. A failed commit leaves the kernel's old table in force.
  //
  // This is where a router may delay commits. The default commits at once,
  // which is right for a router whose Commit() is cheap. GsiRouter waits until
  // a commit pays for itself.
  virtual absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi gsi) {
    static_cast<void>(gsi);
    if (absl::Status status = Commit(); !status.ok()) return status;
    return true;
  }
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_
