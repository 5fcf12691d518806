// SPDX-License-Identifier: Apache-2.0
#ifndef ROUTES_H_
#define ROUTES_H_

#include <vector>

#include "passthru/passthru.h"

namespace example {

// The routing table. The library's entries join those that the VMM has.
struct Routes final : passthru::interrupts::RoutingTable {
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override {
    std::vector<kvm_irq_routing_entry> all = own;
    all.insert(all.end(), entries.begin(), entries.end());
    return vm->SetGsiRouting(all);
  }
  passthru::kvm::KvmVm* vm = nullptr;
  std::vector<kvm_irq_routing_entry> own;
};

}  // namespace example

#endif  // ROUTES_H_
