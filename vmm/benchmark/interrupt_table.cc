// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/vmm/benchmark/interrupt_costs.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"

namespace passthru::benchmark {
namespace {

constexpr std::array<uint16_t, 3> kVectorCounts = {8, 64, 2048};

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

void PrintInterruptCosts() {
  std::vector<std::vector<std::string>> rows = {
      {"", "N", "SET_GSI_ROUTING", "IRQFD", "SET_IRQS", "sum", "goal",
       "SIGNAL_MSI", "eventfd reads", "entries copied", "in one call"}};
  for (const uint16_t n : kVectorCounts) {
    for (const Trace trace : kAllTraces) {
      const InterruptCosts costs = CountBringUp(n, trace);
      rows.push_back(
          {std::string(Describe(trace)), absl::StrCat(n),
           absl::StrCat(costs.set_gsi_routing), absl::StrCat(costs.irqfd),
           absl::StrCat(costs.set_irqs), absl::StrCat(costs.calls()),
           absl::StrCat(Goal(n, trace)), absl::StrCat(costs.signal_msi),
           absl::StrCat(costs.eventfd_reads), absl::StrCat(costs.entries),
           absl::StrCat(costs.largest_table)});
    }
    for (const PeerCosts& peer : PeersBringUp(n)) {
      rows.push_back({absl::StrCat(peer.name, ", (a) to (c)"), absl::StrCat(n),
                      absl::StrCat(peer.set_gsi_routing),
                      absl::StrCat(peer.irqfd), absl::StrCat(peer.set_irqs),
                      absl::StrCat(peer.calls()), "", "0", "0",
                      absl::StrCat(peer.entries), absl::StrCat(40 + n)});
    }
  }
  PrintTable(
      "Interrupts: kernel calls to bring N MSI-X vectors up, as Linux does",
      "Ours are counted in this run. The others' follow from their sources, "
      "on x86, with INTx idle.",
      rows);
}

}  // namespace passthru::benchmark
