// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_
#define PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/types/span.h"

namespace passthru::bus {

// The last address of every address space.
inline constexpr uint64_t kLastAddress = std::numeric_limits<uint64_t>::max();

// A sorted list of segments, made from overlapping address ranges with
// priorities. Each segment belongs to one range. Whenever a range is added or
// removed, the bus rebuilds the view in O(n log n), so that a guest access
// finds its range in O(log n).
//
// Immutable after Build().
class FlatView {
 public:
  // [first, last], both inclusive, because a range may end at 2^64 - 1.
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    int priority = 0;
  };
  struct Segment {
    uint64_t first = 0;
    uint64_t last = 0;
    // Index of the range in the argument of Build().
    size_t range = 0;

    friend bool operator==(const Segment&, const Segment&) = default;
  };

  FlatView() = default;

  // Builds the view. Where ranges overlap, the address belongs to the range of
  // the highest priority, and among equals to the first in `ranges`.
  static FlatView Build(absl::Span<const Range> ranges);

  // Returns the first segment that ends at or after `address`, or null. The
  // segment contains `address` unless it begins above it.
  const Segment* Find(uint64_t address) const;

  absl::Span<const Segment> segments() const { return segments_; }

 private:
  std::vector<Segment> segments_;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_FLAT_VIEW_H_
