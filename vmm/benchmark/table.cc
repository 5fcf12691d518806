// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/table.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace passthru::benchmark {

std::string TableText(std::string_view title, std::string_view about,
                      const Rows& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text = absl::StrCat(title, "\n", about, "\n");
  for (const auto& row : rows) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, " ", i == 0 ? "" : padding, row[i],
                      i == 0 ? padding : "");
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace passthru::benchmark
