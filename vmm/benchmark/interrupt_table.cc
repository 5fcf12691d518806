// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/interrupt_table.h"

#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/vmm/benchmark/interrupt_costs.h"
#include "passthru/vmm/benchmark/table.h"

namespace passthru::benchmark {
namespace {

std::string_view Describe(Trace trace) {
  switch (trace) {
    case Trace::kAllThenFire:
      return "here, (a) all requested, each fires once";
    case Trace::kOneByOne:
      return "here, (b) requested and fired one by one";
    case Trace::kNoneFires:
      break;
  }
  return "here, (c) all requested, none fires";
}

}  // namespace

std::string InterruptTable(uint16_t vectors) {
  Rows rows = {{"", "SET_GSI_ROUTING", "IRQFD", "SET_IRQS", "sum", "goal",
                "SIGNAL_MSI", "eventfd reads", "entries copied",
                "in one call"}};
  for (const Trace trace : kAllTraces) {
    const InterruptCosts costs = CountBringUp(vectors, trace);
    rows.push_back(
        {std::string(Describe(trace)), absl::StrCat(costs.set_gsi_routing),
         absl::StrCat(costs.irqfd), absl::StrCat(costs.set_irqs),
         absl::StrCat(costs.calls()), absl::StrCat(Goal(vectors, trace)),
         absl::StrCat(costs.signal_msi), absl::StrCat(costs.eventfd_reads),
         absl::StrCat(costs.entries), absl::StrCat(costs.largest_table)});
  }
  for (const PeerCosts& peer : PeersBringUp(vectors)) {
    rows.push_back({absl::StrCat(peer.name, ", (a) to (c)"),
                    absl::StrCat(peer.set_gsi_routing),
                    absl::StrCat(peer.irqfd), absl::StrCat(peer.set_irqs),
                    absl::StrCat(peer.calls()), "", "0", "0",
                    absl::StrCat(peer.entries), absl::StrCat(40 + vectors)});
  }
  return TableText(
      absl::StrCat("Interrupts: kernel calls to bring ", vectors,
                   " MSI-X vectors up, as Linux does"),
      "Ours are counted in this run. The others' follow from their sources, "
      "on x86, with INTx idle.",
      rows);
}

}  // namespace passthru::benchmark
