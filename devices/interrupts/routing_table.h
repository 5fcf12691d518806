// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_ROUTING_TABLE_H_
#define PASSTHRU_DEVICES_INTERRUPTS_ROUTING_TABLE_H_

#include <linux/kvm.h>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::interrupts {

// The GSI routing table of one VM in the kernel. GsiRouter writes it. A VMM
// that implements MsiRouter itself does not need it. kvm::KvmVm implements it
// over the VM's descriptor.
//
// Implementations are thread-safe and must not call back.
class RoutingTable {
 public:
  virtual ~RoutingTable() = default;

  // Atomically replaces the whole table (KVM_SET_GSI_ROUTING). On failure the
  // kernel keeps the old one. A failure carries the kernel's errno
  // (kernel::ErrnoOf).
  virtual absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_ROUTING_TABLE_H_
