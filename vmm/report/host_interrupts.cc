// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/host_interrupts.h"

#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace passthru::vmm {
namespace {

// Returns the vector of a line that is the device's.
std::optional<uint32_t> VectorOf(std::string_view line,
                                 const std::string& host) {
  if (absl::StrContains(line, absl::StrCat("vfio-intx(", host, ")"))) return 0;
  const size_t end = line.find(absl::StrCat("](", host, ")"));
  if (end == std::string_view::npos) return std::nullopt;
  line = line.substr(0, end);
  const size_t name = line.rfind("vfio-msi");
  const size_t begin = line.rfind('[');
  uint32_t vector = 0;
  if (name == std::string_view::npos || begin == std::string_view::npos ||
      begin < name || !absl::SimpleAtoi(line.substr(begin + 1), &vector)) {
    return std::nullopt;
  }
  return vector;
}

// Returns the sum of the numbers after the colon of a line.
uint64_t SumOf(std::string_view line) {
  uint64_t sum = 0;
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return 0;
  for (const std::string_view word :
       absl::StrSplit(line.substr(colon + 1), ' ', absl::SkipEmpty())) {
    uint64_t count = 0;
    if (!absl::SimpleAtoi(word, &count)) break;
    sum += count;
  }
  return sum;
}

}  // namespace

std::map<uint32_t, uint64_t> HostInterrupts(std::string_view text,
                                            const pci::Bdf& host) {
  std::map<uint32_t, uint64_t> counts;
  const std::string name = host.ToString();
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    const std::optional<uint32_t> vector = VectorOf(line, name);
    if (vector.has_value()) counts[*vector] += SumOf(line);
  }
  return counts;
}

}  // namespace passthru::vmm
