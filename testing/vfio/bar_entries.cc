// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/bar_entries.h"

#include <algorithm>
#include <cstdint>
#include <ostream>

namespace passthru::fake {
namespace {

constexpr uint64_t kSmallEntry = 4096;
constexpr uint64_t kMiddleEntry = uint64_t{2} << 20;
constexpr uint64_t kLargeEntry = uint64_t{1} << 30;

// Counts with entries of at most `largest` bytes.
BarEntries CountUpTo(uint64_t largest, uint64_t address, uint64_t offset,
                     uint64_t length) {
  if (largest == kSmallEntry) return {.of_4_kib = length / kSmallEntry};
  const uint64_t next = largest == kLargeEntry ? kMiddleEntry : kSmallEntry;
  if ((address - offset) % largest != 0) {
    return CountUpTo(next, address, offset, length);
  }
  const uint64_t head =
      std::min(length, (largest - address % largest) % largest);
  const uint64_t body = (length - head) / largest * largest;
  BarEntries entries = CountUpTo(next, address, offset, head);
  entries += CountUpTo(next, address + head + body, offset + head + body,
                       length - head - body);
  (largest == kLargeEntry ? entries.of_1_gib : entries.of_2_mib) +=
      body / largest;
  return entries;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const BarEntries& entries) {
  return out << entries.of_4_kib << " of 4 KiB, " << entries.of_2_mib
             << " of 2 MiB, " << entries.of_1_gib << " of 1 GiB";
}

BarEntries CountEntries(uint64_t address, uint64_t offset, uint64_t length,
                        bool huge) {
  return CountUpTo(huge ? kLargeEntry : kSmallEntry, address, offset, length);
}

}  // namespace passthru::fake
