// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_
#define PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::bus {

// Overlapping address ranges with priorities, flattened: a sorted list of
// segments, each of which belongs to one range. Made anew when a range comes
// or goes, in O(n log n), so that a guest access finds its range in O(log n).
//
// Immutable after Build().
class FlatView {
 public:
  // [first, last], both inside: a range may end at 2^64 - 1.
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    int priority = 0;
  };
  struct Segment {
    uint64_t first = 0;
    uint64_t last = 0;
    // Index of the range among those given to Build().
    size_t range = 0;

    friend bool operator==(const Segment&, const Segment&) = default;
  };

  FlatView() = default;

  // Where ranges overlap, the one of the highest priority owns the address,
  // among equals the one that comes first in `ranges`.
  static FlatView Build(absl::Span<const Range> ranges);

  // The first segment that ends at or after `address`, or null. It holds
  // `address` unless it begins above it.
  const Segment* Find(uint64_t address) const;

  absl::Span<const Segment> segments() const { return segments_; }

 private:
  std::vector<Segment> segments_;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_
