// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/flat_view.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Range = FlatView::Range;
using Segment = FlatView::Segment;

constexpr uint64_t kEndOfSpace = std::numeric_limits<uint64_t>::max();

std::vector<Segment> Flatten(const std::vector<Range>& ranges) {
  const FlatView view = FlatView::Build(ranges);
  return {view.segments().begin(), view.segments().end()};
}

TEST(FlatViewTest, OfNothingIsEmpty) {
  EXPECT_THAT(Flatten({}), IsEmpty());
  EXPECT_EQ(FlatView().Find(0), nullptr);
}

TEST(FlatViewTest, TheHigherPriorityOwnsTheOverlap) {
  EXPECT_THAT(Flatten({{0x00, 0x1f, 0}, {0x10, 0x2f, 1}}),
              ElementsAre(Segment{0x00, 0x0f, 0}, Segment{0x10, 0x2f, 1}));
  EXPECT_THAT(Flatten({{0x00, 0x1f, 1}, {0x10, 0x2f, 0}}),
              ElementsAre(Segment{0x00, 0x1f, 0}, Segment{0x20, 0x2f, 1}));
}

TEST(FlatViewTest, TheEarlierOwnsTheOverlapAmongEquals) {
  EXPECT_THAT(Flatten({{0x10, 0x2f, 5}, {0x00, 0x1f, 5}}),
              ElementsAre(Segment{0x00, 0x0f, 1}, Segment{0x10, 0x2f, 0}));
}

TEST(FlatViewTest, AHigherRangeInTheMiddleLeavesTwoParts) {
  EXPECT_THAT(Flatten({{0x00, 0xff, 0}, {0x40, 0x4f, 1}}),
              ElementsAre(Segment{0x00, 0x3f, 0}, Segment{0x40, 0x4f, 1},
                          Segment{0x50, 0xff, 0}));
}

TEST(FlatViewTest, ALowerRangeInTheMiddleCutsNothing) {
  EXPECT_THAT(Flatten({{0x00, 0xff, 1}, {0x40, 0x4f, 0}}),
              ElementsAre(Segment{0x00, 0xff, 0}));
}

TEST(FlatViewTest, NeighboursStayApart) {
  EXPECT_THAT(Flatten({{0x00, 0x0f, 0}, {0x10, 0x1f, 0}}),
              ElementsAre(Segment{0x00, 0x0f, 0}, Segment{0x10, 0x1f, 1}));
}

TEST(FlatViewTest, NegativePrioritiesAreLower) {
  EXPECT_THAT(Flatten({{0, 9, -1}, {0, 9, 0}}), ElementsAre(Segment{0, 9, 1}));
}

TEST(FlatViewTest, HoldsTheLastAddress) {
  EXPECT_THAT(Flatten({{kEndOfSpace, kEndOfSpace, 1}, {0, kEndOfSpace, 0}}),
              ElementsAre(Segment{0, kEndOfSpace - 1, 1},
                          Segment{kEndOfSpace, kEndOfSpace, 0}));
}

TEST(FlatViewTest, FindsTheSegmentOrTheNextOne) {
  const FlatView view =
      FlatView::Build(std::vector<Range>{{0x10, 0x1f, 0}, {0x30, 0x3f, 0}});
  EXPECT_EQ(view.Find(0x00)->first, 0x10u);
  EXPECT_EQ(view.Find(0x10)->first, 0x10u);
  EXPECT_EQ(view.Find(0x1f)->first, 0x10u);
  EXPECT_EQ(view.Find(0x20)->first, 0x30u);
  EXPECT_EQ(view.Find(0x3f)->first, 0x30u);
  EXPECT_EQ(view.Find(0x40), nullptr);
}

std::optional<size_t> NaiveOwner(const std::vector<Range>& ranges,
                                 uint64_t address) {
  std::optional<size_t> owner;
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (address < ranges[i].first || address > ranges[i].last) continue;
    if (!owner || ranges[i].priority > ranges[*owner].priority) owner = i;
  }
  return owner;
}

// Windows at the bottom, in the middle and at the top of the address space.
class FlatViewModelTest : public testing::TestWithParam<uint64_t> {};

TEST_P(FlatViewModelTest, AgreesWithAskingEveryRange) {
  constexpr uint64_t kWindow = 64;
  const uint64_t base = GetParam();
  std::mt19937_64 random(11);
  for (int round = 0; round < 500; ++round) {
    std::vector<Range> ranges(random() % 12);
    for (Range& range : ranges) {
      const uint64_t first = random() % kWindow;
      range.first = base + first;
      range.last = range.first + random() % (kWindow - first);
      range.priority = static_cast<int>(random() % 4) - 2;
    }
    const FlatView view = FlatView::Build(ranges);
    for (uint64_t i = 0; i < kWindow; ++i) {
      const Segment* found = view.Find(base + i);
      std::optional<size_t> owner;
      if (found != nullptr && found->first <= base + i) owner = found->range;
      ASSERT_EQ(owner, NaiveOwner(ranges, base + i))
          << "round " << round << " address " << i;
    }
    for (size_t i = 1; i < view.segments().size(); ++i) {
      const Segment& a = view.segments()[i - 1];
      const Segment& b = view.segments()[i];
      ASSERT_LT(a.last, b.first);
      // Neighbours that could be one segment are one segment.
      ASSERT_TRUE(a.range != b.range || a.last + 1 != b.first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, FlatViewModelTest,
                         testing::Values(0, 0xe0000000, kEndOfSpace - 63));

}  // namespace
}  // namespace passthru::bus
