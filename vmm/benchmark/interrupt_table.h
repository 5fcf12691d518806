// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_INTERRUPT_TABLE_H_
#define PASSTHRU_VMM_BENCHMARK_INTERRUPT_TABLE_H_

#include <cstdint>
#include <string>

namespace passthru::benchmark {

// Counts the calls that bring so many MSI-X vectors up, and returns them beside
// what other VMMs need, as a table.
std::string InterruptTable(uint16_t vectors);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_INTERRUPT_TABLE_H_
