// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_BAR_ENTRIES_H_
#define PASSTHRU_TESTING_VFIO_BAR_ENTRIES_H_

#include <cstdint>
#include <ostream>

namespace passthru::fake {

// The numbers of page table entries of each size. What Linux does for a mapping
// of a BAR, at its first access and when it is pinned for DMA, takes time in
// proportion to them.
struct BarEntries {
  uint64_t of_4_kib = 0;
  uint64_t of_2_mib = 0;
  uint64_t of_1_gib = 0;

  BarEntries& operator+=(const BarEntries& other) {
    of_4_kib += other.of_4_kib;
    of_2_mib += other.of_2_mib;
    of_1_gib += other.of_1_gib;
    return *this;
  }
  friend bool operator==(const BarEntries&, const BarEntries&) = default;
};

std::ostream& operator<<(std::ostream& out, const BarEntries& entries);

// Returns the entries for `length` bytes of a file from `offset` on, mapped at
// `address`. All three are multiples of 4 KiB. If not `huge`, there are only
// small ones.
BarEntries CountEntries(uint64_t address, uint64_t offset, uint64_t length,
                        bool huge);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_BAR_ENTRIES_H_
