// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/flat_view.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace passthru::bus {
namespace {

// The point where a range begins, or the one just above its end.
struct Edge {
  uint64_t address = 0;
  bool begins = false;
  size_t range = 0;
};

std::vector<Edge> SortedEdges(absl::Span<const FlatView::Range> ranges) {
  std::vector<Edge> edges;
  edges.reserve(2 * ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    edges.push_back({ranges[i].first, true, i});
    if (ranges[i].last != kLastAddress)
      edges.push_back({ranges[i].last + 1, false, i});
  }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.address < b.address; });
  return edges;
}

}  // namespace

FlatView FlatView::Build(absl::Span<const Range> ranges) {
  struct Rank {
    int priority;
    size_t range;
    bool operator<(const Rank& other) const {
      if (priority != other.priority) return priority > other.priority;
      return range < other.range;
    }
  };
  const std::vector<Edge> edges = SortedEdges(ranges);
  FlatView view;
  // The ranges that cover the addresses from the current edge to the next.
  std::set<Rank> covering;
  for (size_t i = 0; i < edges.size();) {
    const uint64_t first = edges[i].address;
    for (; i < edges.size() && edges[i].address == first; ++i) {
      const Rank rank = {ranges[edges[i].range].priority, edges[i].range};
      if (edges[i].begins)
        covering.insert(rank);
      else
        covering.erase(rank);
    }
    if (covering.empty()) continue;
    const uint64_t last =
        i < edges.size() ? edges[i].address - 1 : kLastAddress;
    const size_t owner = covering.begin()->range;
    std::vector<Segment>& segments = view.segments_;
    // An access must not be cut at an edge of a range that owns nothing here.
    if (!segments.empty() && segments.back().range == owner &&
        segments.back().last + 1 == first) {
      segments.back().last = last;
    } else {
      segments.push_back({first, last, owner});
    }
  }
  return view;
}

const FlatView::Segment* FlatView::Find(uint64_t address) const {
  const auto found = std::partition_point(
      segments_.begin(), segments_.end(),
      [address](const Segment& segment) { return segment.last < address; });
  return found == segments_.end() ? nullptr : &*found;
}

}  // namespace passthru::bus
