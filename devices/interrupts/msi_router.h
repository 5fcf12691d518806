// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_
#define PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/gsi.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// The routes from GSIs to MSI messages that the devices of one VM share:
// narrow, so that a VMM which owns its routing table can implement it;
// GsiRouter is ours.
//
// A message is first staged, which costs no system call, and reaches the kernel
// with the next commit, together with whatever else was staged by then. An
// irqfd is assigned only once IsCommitted(): the kernel accepts one without a
// route and loses its interrupts.
//
// Implementations are thread-safe and never call back into a device, whose
// interrupt mutex is held by the caller.
class MsiRouter {
 public:
  virtual ~MsiRouter() = default;

  // A GSI of the caller's own, without a message. kResourceExhausted when the
  // VM's table is full.
  virtual absl::StatusOr<allocator::Gsi> Allocate() = 0;

  // Gives `gsi` back. The caller has deassigned its irqfd. No system call: the
  // entry leaves the kernel's table with the next commit.
  virtual void Release(allocator::Gsi gsi) = 0;

  // `message` is what `gsi` shall inject. kInvalidArgument, with nothing
  // staged, for one that is no interrupt: it would make the kernel refuse the
  // whole VM's table.
  virtual absl::Status Stage(allocator::Gsi gsi,
                             const pci::MsiMessage& message) = 0;

  // Does the kernel's table say `message` for `gsi` now?
  virtual bool IsCommitted(allocator::Gsi gsi,
                           const pci::MsiMessage& message) const = 0;

  // An interrupt of `gsi` was just injected from user space because its staged
  // message is not committed. The router decides whether that is reason enough
  // to commit. Returns whether it is committed now; a failed commit leaves the
  // kernel's old table in force.
  virtual absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi gsi) = 0;

  // Makes the kernel's table what is staged, in one call; none when it is that
  // already.
  virtual absl::Status Commit() = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_MSI_ROUTER_H_
