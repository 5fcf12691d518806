// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_FREE_RANGES_H_
#define PASSTHRU_ALLOCATOR_FREE_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/log/check.h"

namespace passthru::allocator {

// The gaps between allocations, indexed by address and, for each alignment in
// use, by how much of each gap is usable at that alignment. An alignment is in
// use once it has been requested.
//
// One index by size would not be enough. A search in it may pass any number of
// gaps that are large enough but not aligned. With one index per alignment,
// each operation is O(log n) for n gaps and a fixed set of alignments. There
// are at most 64 of these, and a PCI window uses one for each BAR size. The
// first request of a new alignment indexes all gaps once, in O(n log n).
//
// `Less` is a template parameter so that a test can count comparisons.
//
// Thread-compatible.
template <typename Less = std::less<>>
class BasicFreeRanges {
 public:
  // Starts with all of [first, last] free.
  BasicFreeRanges(uint64_t first, uint64_t last) {
    CHECK_LE(first, last);
    indexes_.push_back({.shift = 0, .gaps = {}});
    Insert(first, last);
  }

  // Takes `size` > 0 bytes at a multiple of 2^shift and returns the lowest
  // address, or std::nullopt if they do not fit anywhere. AddressAllocator
  // describes which gap it takes.
  std::optional<uint64_t> Take(uint64_t size, unsigned shift) {
    CHECK_GT(size, 0u);
    const Index& index = IndexFor(shift);
    const auto found = index.gaps.lower_bound({.extent = size - 1, .first = 0});
    if (found == index.gaps.end()) return std::nullopt;
    const Gap gap = *gaps_.find(found->first);
    const uint64_t first = *AlignUp(gap.first, shift);
    Cut(gap, first, first + (size - 1));
    return first;
  }

  // Takes exactly [first, last] and returns true. If some of it is not free,
  // takes nothing and returns false.
  bool TakeAt(uint64_t first, uint64_t last) {
    auto next = gaps_.upper_bound(first);
    if (next == gaps_.begin()) return false;
    const Gap gap = *std::prev(next);
    if (last > gap.second) return false;
    Cut(gap, first, last);
    return true;
  }

  // Gives back [first, last], which must have been taken, and joins it with the
  // gaps on either side.
  void Give(uint64_t first, uint64_t last) {
    const auto next = gaps_.upper_bound(last);
    std::optional<Gap> above, below;
    if (next != gaps_.end()) above = *next;
    if (next != gaps_.begin()) below = *std::prev(next);
    CHECK(!below.has_value() || below->second < first)
        << "a range was given back twice";
    if (above.has_value() && above->first == last + 1) {
      last = above->second;
      Erase(*above);
    }
    if (below.has_value() && below->second + 1 == first) {
      first = below->first;
      Erase(*below);
    }
    Insert(first, last);
  }

  // Returns the size of the largest gap. A gap of 2^64 bytes counts as one byte
  // less, so that its size fits.
  uint64_t largest() const {
    const auto& by_extent = indexes_.front().gaps;
    if (by_extent.empty()) return 0;
    const uint64_t extent = by_extent.rbegin()->extent;
    return extent == kMax ? kMax : extent + 1;
  }

  size_t gap_count() const { return gaps_.size(); }

 private:
  static constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

  // First and last address.
  using Gap = std::pair<uint64_t, uint64_t>;

  // The usable part of a gap at one alignment. `extent` is its size minus one,
  // so that a size of 2^64 can be represented.
  struct Usable {
    uint64_t extent = 0;
    uint64_t first = 0;
  };
  struct LessUsable {
    bool operator()(const Usable& a, const Usable& b) const {
      return Less()(std::pair(a.extent, a.first), std::pair(b.extent, b.first));
    }
  };
  struct Index {
    unsigned shift = 0;
    absl::btree_set<Usable, LessUsable> gaps;
  };

  static std::optional<uint64_t> AlignUp(uint64_t address, unsigned shift) {
    const uint64_t mask = (uint64_t{1} << shift) - 1;
    if (address > kMax - mask) return std::nullopt;
    return (address + mask) & ~mask;
  }

  // Returns std::nullopt if there is no aligned address in the gap.
  static std::optional<Usable> UsablePart(const Gap& gap, unsigned shift) {
    const std::optional<uint64_t> aligned = AlignUp(gap.first, shift);
    if (!aligned.has_value() || *aligned > gap.second) return std::nullopt;
    return Usable{.extent = gap.second - *aligned, .first = gap.first};
  }

  const Index& IndexFor(unsigned shift) {
    for (const Index& index : indexes_)
      if (index.shift == shift) return index;
    Index index = {.shift = shift, .gaps = {}};
    for (const Gap gap : gaps_) {
      const std::optional<Usable> usable = UsablePart(gap, shift);
      if (usable.has_value()) index.gaps.insert(*usable);
    }
    return indexes_.emplace_back(std::move(index));
  }

  void Cut(const Gap gap, uint64_t first, uint64_t last) {
    Erase(gap);
    if (gap.first < first) Insert(gap.first, first - 1);
    if (last < gap.second) Insert(last + 1, gap.second);
  }

  void Insert(uint64_t first, uint64_t last) {
    const Gap gap(first, last);
    gaps_.insert(gap);
    for (Index& index : indexes_) {
      const std::optional<Usable> usable = UsablePart(gap, index.shift);
      if (usable.has_value()) index.gaps.insert(*usable);
    }
  }

  void Erase(const Gap gap) {
    gaps_.erase(gap.first);
    for (Index& index : indexes_) {
      const std::optional<Usable> usable = UsablePart(gap, index.shift);
      if (usable.has_value()) index.gaps.erase(*usable);
    }
  }

  // Maps the first address of each gap to its last.
  absl::btree_map<uint64_t, uint64_t, Less> gaps_;
  // The first index is the one without alignment.
  std::vector<Index> indexes_;
};

using FreeRanges = BasicFreeRanges<>;

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_FREE_RANGES_H_
