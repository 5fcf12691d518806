// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/measure.h"

#include <iostream>

#include "passthru/testing/rig/allocation_counter.h"
#include "passthru/vmm/benchmark/table.h"

namespace passthru::benchmark {

double AllocationsEach(absl::FunctionRef<void()> body) {
  constexpr int kCalls = 1000;
  body();  // What is allocated once is not the cost of a call.
  const int64_t allocations = fake::CountAllocations([&body] {
    for (int i = 0; i < kCalls; ++i) body();
  });
  return static_cast<double>(allocations) / kCalls;
}

void PrintTable(std::string_view title, std::string_view about,
                const Rows& rows) {
  std::cout << "\n" << TableText(title, about, rows) << std::flush;
}

}  // namespace passthru::benchmark
