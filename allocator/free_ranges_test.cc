// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/free_ranges.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace passthru::allocator {
namespace {

constexpr uint64_t kLastAddress = std::numeric_limits<uint64_t>::max();

TEST(FreeRangesTest, TakesTheSmallestGapThatFits) {
  FreeRanges ranges(0, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0x20, 0x2f));
  ASSERT_TRUE(ranges.TakeAt(0x38, 0x3f));
  // The gaps have 0x20, 8 and 0xc0 bytes.
  EXPECT_EQ(ranges.Take(8, 0), 0x30);
  EXPECT_EQ(ranges.Take(8, 0), 0);
}

TEST(FreeRangesTest, TakesTheLowestOfEqualGaps) {
  FreeRanges ranges(0, 0x2f);
  ASSERT_TRUE(ranges.TakeAt(0x10, 0x1f));
  EXPECT_EQ(ranges.Take(0x10, 0), 0);
  EXPECT_EQ(ranges.Take(0x10, 0), 0x20);
}

TEST(FreeRangesTest, ChoosesByWhatIsUsableAtTheAlignment) {
  FreeRanges ranges(1, 0x2f);
  ASSERT_TRUE(ranges.TakeAt(0x14, 0x1f));
  // [1, 0x13] is the larger gap, but only 4 bytes of it are usable at an
  // alignment of 16, which is less than the 16 bytes of [0x20, 0x2f].
  EXPECT_EQ(ranges.Take(4, 4), 0x10);
  EXPECT_EQ(ranges.Take(16, 4), 0x20);
  EXPECT_EQ(ranges.Take(1, 4), std::nullopt);
}

TEST(FreeRangesTest, FindsTheOnlyAlignedGapAmongManyThatAreNot) {
  FreeRanges ranges(0, 0xffff);
  for (uint64_t i = 0; i < 0x1000; ++i)
    ASSERT_TRUE(ranges.TakeAt(i * 16, i * 16 + (i == 0x800 ? 0 : 8)));
  ranges.Give(0x8000, 0x8000);
  EXPECT_EQ(ranges.Take(7, 4), 0x8000);
  EXPECT_EQ(ranges.Take(7, 4), std::nullopt);
}

TEST(FreeRangesTest, JoinsWithTheGapBelow) {
  FreeRanges ranges(0, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0x10, 0x1f));
  ranges.Give(0x10, 0x17);
  EXPECT_EQ(ranges.gap_count(), 2u);
  EXPECT_TRUE(ranges.TakeAt(0, 0x17));
}

TEST(FreeRangesTest, JoinsWithTheGapAbove) {
  FreeRanges ranges(0, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0x10, 0x1f));
  ranges.Give(0x18, 0x1f);
  EXPECT_EQ(ranges.gap_count(), 2u);
  EXPECT_TRUE(ranges.TakeAt(0x18, 0xff));
}

TEST(FreeRangesTest, JoinsWithBoth) {
  FreeRanges ranges(0, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0x10, 0x1f));
  ranges.Give(0x10, 0x1f);
  EXPECT_EQ(ranges.gap_count(), 1u);
  EXPECT_EQ(ranges.largest(), 0x100u);
}

TEST(FreeRangesTest, TakeAtRefusesWhatIsPartlyTaken) {
  FreeRanges ranges(0x10, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0x40, 0x4f));
  EXPECT_FALSE(ranges.TakeAt(0x0f, 0x10));
  EXPECT_FALSE(ranges.TakeAt(0x3f, 0x40));
  EXPECT_FALSE(ranges.TakeAt(0x4f, 0x50));
  EXPECT_FALSE(ranges.TakeAt(0x30, 0x60));
  EXPECT_FALSE(ranges.TakeAt(0x44, 0x45));
  EXPECT_FALSE(ranges.TakeAt(0xff, 0x100));
  EXPECT_EQ(ranges.gap_count(), 2u);
}

TEST(FreeRangesTest, HoldsAll64Bits) {
  FreeRanges ranges(0, kLastAddress);
  EXPECT_EQ(ranges.largest(), kLastAddress);
  EXPECT_EQ(ranges.Take(uint64_t{1} << 63, 63), 0u);
  EXPECT_EQ(ranges.Take(uint64_t{1} << 63, 63), uint64_t{1} << 63);
  EXPECT_EQ(ranges.largest(), 0u);
  EXPECT_EQ(ranges.Take(1, 0), std::nullopt);
  ranges.Give(0, kLastAddress);
  EXPECT_TRUE(ranges.TakeAt(kLastAddress, kLastAddress));
  EXPECT_EQ(ranges.Take(kLastAddress, 0), 0u);
}

TEST(FreeRangesTest, AligningNearTheEndDoesNotWrap) {
  FreeRanges ranges(kLastAddress - 5, kLastAddress);
  EXPECT_EQ(ranges.Take(1, 3), std::nullopt);
  EXPECT_EQ(ranges.Take(4, 2), kLastAddress - 3);
}

TEST(FreeRangesDeathTest, GivingBackTwiceIsOurBug) {
  FreeRanges ranges(0, 0xff);
  ASSERT_TRUE(ranges.TakeAt(0, 0xf));
  ranges.Give(0, 0xf);
  EXPECT_DEATH(ranges.Give(0, 0xf), "given back twice");
}

// A byte map that is searched from end to end. FreeRanges must agree with it on
// every address.
class NaiveRanges {
 public:
  NaiveRanges(uint64_t base, size_t size) : base_(base), taken_(size, false) {}

  std::optional<uint64_t> Take(uint64_t size, unsigned shift) {
    std::optional<size_t> best_start;
    size_t best_usable = 0;
    for (size_t i = 0; i < taken_.size();) {
      if (taken_[i]) {
        ++i;
        continue;
      }
      size_t end = i;
      while (end < taken_.size() && !taken_[end]) ++end;
      size_t start = i;
      while (start < end && (base_ + start) % (uint64_t{1} << shift) != 0)
        ++start;
      const size_t usable = end - start;
      if (usable >= size && (!best_start || usable < best_usable)) {
        best_start = start;
        best_usable = usable;
      }
      i = end;
    }
    if (!best_start) return std::nullopt;
    Mark(*best_start, size, true);
    return base_ + *best_start;
  }

  bool TakeAt(uint64_t first, uint64_t last) {
    if (first < base_ || last - base_ >= taken_.size()) return false;
    for (uint64_t i = first; i <= last; ++i)
      if (taken_[i - base_]) return false;
    Mark(first - base_, last - first + 1, true);
    return true;
  }

  void Give(uint64_t first, uint64_t last) {
    Mark(first - base_, last - first + 1, false);
  }

  uint64_t largest() const {
    uint64_t best = 0, run = 0;
    for (bool taken : taken_) {
      run = taken ? 0 : run + 1;
      best = std::max(best, run);
    }
    return best;
  }

 private:
  void Mark(size_t start, size_t size, bool taken) {
    std::fill_n(taken_.begin() + start, size, taken);
  }

  const uint64_t base_;
  std::vector<bool> taken_;
};

class FreeRangesModelTest : public testing::TestWithParam<uint64_t> {};

TEST_P(FreeRangesModelTest, AgreesWithAByteMap) {
  constexpr size_t kSize = 700;
  const uint64_t base = GetParam();
  FreeRanges ranges(base, base + (kSize - 1));
  NaiveRanges naive(base, kSize);
  struct Live {
    uint64_t first, last;
  };
  std::vector<Live> live;
  std::mt19937_64 random(20240722);
  const auto below = [&random](uint64_t n) { return random() % n; };
  for (int step = 0; step < 5000; ++step) {
    switch (below(5)) {
      case 0:
      case 1: {
        const uint64_t size = 1 + below(below(4) == 0 ? 200 : 24);
        const unsigned shift = static_cast<unsigned>(below(8));
        const std::optional<uint64_t> first = ranges.Take(size, shift);
        ASSERT_EQ(first, naive.Take(size, shift))
            << "step " << step << " size " << size << " shift " << shift;
        if (first) live.push_back({*first, *first + (size - 1)});
        break;
      }
      case 2: {
        const uint64_t first = base + below(kSize - 32);
        const uint64_t last = first + below(32);
        const bool taken = ranges.TakeAt(first, last);
        ASSERT_EQ(taken, naive.TakeAt(first, last)) << "step " << step;
        if (taken) live.push_back({first, last});
        break;
      }
      default: {
        if (live.empty()) break;
        std::swap(live[below(live.size())], live.back());
        ranges.Give(live.back().first, live.back().last);
        naive.Give(live.back().first, live.back().last);
        live.pop_back();
        break;
      }
    }
    ASSERT_EQ(ranges.largest(), naive.largest()) << "step " << step;
  }
  for (const Live& range : live) ranges.Give(range.first, range.last);
  EXPECT_EQ(ranges.gap_count(), 1u);
  EXPECT_EQ(ranges.largest(), kSize);
}

INSTANTIATE_TEST_SUITE_P(Bases, FreeRangesModelTest,
                         testing::Values(0, 1, 0xe0000000, kLastAddress - 699));

uint64_t comparisons = 0;

struct CountingLess {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    ++comparisons;
    return a < b;
  }
};

// Returns the largest number of comparisons that one operation makes among
// `live` ranges. There are as many gaps, half of which are large enough for a
// request but not aligned for it.
uint64_t WorstOperation(size_t live) {
  constexpr uint64_t kPage = 0x1000;
  BasicFreeRanges<CountingLess> ranges(0, kLastAddress);
  // Takes every third page, which leaves gaps of two pages. Every other gap
  // begins at an odd page.
  for (uint64_t page = 0; page < live * 3; page += 3)
    EXPECT_TRUE(ranges.TakeAt(page * kPage, page * kPage + kPage - 1));
  // Indexes the alignments before anything is measured.
  for (unsigned shift : {12, 13, 14, 20}) {
    const std::optional<uint64_t> at = ranges.Take(kPage, shift);
    EXPECT_TRUE(at.has_value());
    ranges.Give(*at, *at + kPage - 1);
  }
  uint64_t worst = 0;
  const auto measure = [&worst](const auto& operation) {
    comparisons = 0;
    operation();
    worst = std::max(worst, comparisons);
  };
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const unsigned shift = std::vector<unsigned>{12, 13, 14, 20}[random() % 4];
    const uint64_t size = kPage << (random() % 3);
    std::optional<uint64_t> at;
    measure([&] { at = ranges.Take(size, shift); });
    EXPECT_TRUE(at.has_value());
    if (at && i % 2 == 0) {
      measure([&] { ranges.Give(*at, *at + size - 1); });
    }
    const uint64_t page = (random() % live) * 3;
    measure([&] { ranges.Give(page * kPage, page * kPage + kPage - 1); });
    measure([&] {
      EXPECT_TRUE(ranges.TakeAt(page * kPage, page * kPage + kPage - 1));
    });
  }
  return worst;
}

TEST(FreeRangesStepsTest, AHundredThousandLiveRangesAreNotScanned) {
  const uint64_t few = WorstOperation(1000);
  const uint64_t many = WorstOperation(100000);
  EXPECT_LT(many, 2000u);
  // With a hundred times as many ranges, log2 grows from 10 to 17.
  EXPECT_LT(many, 3 * few);
}

}  // namespace
}  // namespace passthru::allocator
