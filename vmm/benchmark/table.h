// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_TABLE_H_
#define PASSTHRU_VMM_BENCHMARK_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

namespace passthru::benchmark {

using Rows = std::vector<std::vector<std::string>>;

// Returns a section's title, a sentence or two about it, and its rows, of which
// the first is the header. All columns but the first are aligned right.
std::string TableText(std::string_view title, std::string_view about,
                      const Rows& rows);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_TABLE_H_
