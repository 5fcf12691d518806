// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/address_allocator.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::allocator {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

std::unique_ptr<AddressAllocator> Window(uint64_t base, uint64_t size) {
  return AddressAllocator::Create(base, size, "mmio32").value();
}

TEST(AddressAllocatorTest, RefusesAnEmptyWindow) {
  EXPECT_THAT(AddressAllocator::Create(0x1000, 0, "mmio32"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mmio32"), HasSubstr("0x1000"))));
}

TEST(AddressAllocatorTest, RefusesAWindowBeyondTheAddressSpace) {
  EXPECT_THAT(AddressAllocator::Create(0x2000, kMax - 0xfff, "mmio64"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mmio64"), HasSubstr("2^64"))));
}

TEST(AddressAllocatorTest, AWindowMayEndAtTheEndOfTheAddressSpace) {
  const auto window = Window(kMax - 0xfff, 0x1000);
  const AddressAllocation all = window->Allocate(0x1000).value();
  EXPECT_EQ(all.address(), kMax - 0xfff);
  EXPECT_EQ(window->available(), 0u);
}

TEST(AddressAllocatorTest, TheLargestWindowIsUsableToItsEnds) {
  const auto window = Window(0, kMax);
  EXPECT_EQ(window->largest_gap(), kMax);
  const AddressAllocation half = window->Allocate(uint64_t{1} << 63).value();
  EXPECT_EQ(half.address(), 0u);
  const AddressAllocation last = window->AllocateAt(kMax - 1, 1).value();
  EXPECT_THAT(window->AllocateAt(kMax, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(window->Allocate(uint64_t{1} << 63),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(AddressAllocatorTest, AlignsNaturallyByDefault) {
  const auto window = Window(0x1000, 0x100000);
  const AddressAllocation large = window->Allocate(0x10000).value();
  EXPECT_EQ(large.address(), 0x10000u);
  const AddressAllocation odd = window->Allocate(0x5000).value();
  EXPECT_EQ(odd.address(), 0x8000u);
  EXPECT_EQ(odd.size(), 0x5000u);
}

TEST(AddressAllocatorTest, AnExplicitAlignmentMayBeSmallerThanTheSize) {
  const auto window = Window(0x1000, 0x10000);
  const AddressAllocation range = window->Allocate(0x8000, 0x1000).value();
  EXPECT_EQ(range.address(), 0x1000u);
}

TEST(AddressAllocatorTest, AnExplicitAlignmentMayBeLargerThanTheSize) {
  const auto window = Window(0x1000, 0x20000);
  const AddressAllocation range = window->Allocate(0x10, 0x10000).value();
  EXPECT_EQ(range.address(), 0x10000u);
}

TEST(AddressAllocatorTest, RefusesSizeZero) {
  const auto window = Window(0, 0x1000);
  EXPECT_THAT(window->Allocate(0), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("mmio32")));
}

TEST(AddressAllocatorTest, RefusesAFixedSizeZero) {
  const auto window = Window(0, 0x1000);
  EXPECT_THAT(window->AllocateAt(0x800, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mmio32"), HasSubstr("0x800"))));
}

TEST(AddressAllocatorTest, RefusesAnAlignmentThatIsNoPowerOfTwo) {
  const auto window = Window(0, 0x1000);
  EXPECT_THAT(window->Allocate(0x10, 0x18),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mmio32"), HasSubstr("0x18"))));
}

TEST(AddressAllocatorTest, RefusesASizeWithoutNaturalAlignment) {
  const auto window = Window(0, kMax);
  EXPECT_THAT(window->Allocate((uint64_t{1} << 63) + 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("natural alignment")));
  EXPECT_THAT(window->Allocate((uint64_t{1} << 63) + 1, 1), IsOk());
}

TEST(AddressAllocatorTest, SaysWhatWasAskedForAndWhatIsLeft) {
  const auto window = Window(0x800, 0x3000);
  const AddressAllocation taken = window->AllocateAt(0x1800, 0x1000).value();
  EXPECT_THAT(window->Allocate(0x1000, 0x1000).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "mmio32: no room for 0x1000 bytes aligned to 0x1000: "
                       "largest gap 0x1000, 0x2000 of 0x3000 bytes free"));
}

TEST(AddressAllocatorTest, GivesExactlyWhatIsAskedFor) {
  const auto window = Window(0x1000, 0x3000);
  const AddressAllocation range = window->AllocateAt(0x1801, 0x1003).value();
  EXPECT_EQ(range.address(), 0x1801u);
  EXPECT_EQ(range.size(), 0x1003u);
  EXPECT_EQ(window->available(), 0x3000u - 0x1003u);
}

TEST(AddressAllocatorTest, AFixedRequestDoesNotOverlap) {
  const auto window = Window(0, 0x10000);
  const AddressAllocation range = window->AllocateAt(0x1000, 0x1000).value();
  EXPECT_THAT(window->AllocateAt(0x1fff, 0x10),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("mmio32"), HasSubstr("0x1fff"),
                             HasSubstr("largest gap 0xe000"))));
}

TEST(AddressAllocatorTest, AFixedRequestStaysInsideTheWindow) {
  const auto window = Window(0x1000, 0x1000);
  EXPECT_THAT(window->AllocateAt(0xfff, 1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("0xfff")));
  EXPECT_THAT(window->AllocateAt(0x2000, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(window->AllocateAt(0x1fff, 2),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(window->AllocateAt(0x1800, kMax),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(window->AllocateAt(0x1fff, 1), IsOk());
}

TEST(AddressAllocatorTest, WhatIsGivenBackIsReused) {
  const auto window = Window(0, 0x3000);
  const AddressAllocation a = window->Allocate(0x1000).value();
  AddressAllocation b = window->Allocate(0x1000).value();
  const AddressAllocation c = window->Allocate(0x1000).value();
  EXPECT_THAT(window->Allocate(1),
              StatusIs(absl::StatusCode::kResourceExhausted));
  const uint64_t address = b.address();
  b.Release();
  EXPECT_TRUE(b.empty());
  const AddressAllocation d = window->Allocate(0x1000).value();
  EXPECT_EQ(d.address(), address);
}

TEST(AddressAllocatorTest, NeighboursGivenBackBecomeOneGap) {
  const auto window = Window(0, 0x4000);
  std::vector<AddressAllocation> pages;
  pages.reserve(4);
  for (int i = 0; i < 4; ++i) pages.push_back(window->Allocate(0x1000).value());
  pages[0].Release();
  pages[2].Release();
  EXPECT_EQ(window->largest_gap(), 0x1000u);
  pages[1].Release();
  EXPECT_EQ(window->largest_gap(), 0x3000u);
  pages[3].Release();
  EXPECT_THAT(window->Allocate(0x4000), IsOk());
}

TEST(AddressAllocationTest, ADefaultOneOwnsNothing) {
  AddressAllocation none;
  EXPECT_TRUE(none.empty());
  none.Release();
}

TEST(AddressAllocationTest, ReleasingTwiceGivesBackOnce) {
  const auto window = Window(0, 0x1000);
  AddressAllocation range = window->Allocate(0x100).value();
  range.Release();
  range.Release();
  EXPECT_EQ(window->available(), 0x1000u);
}

TEST(AddressAllocationTest, MovingMovesOwnership) {
  const auto window = Window(0, 0x1000);
  AddressAllocation from = window->Allocate(0x100).value();
  {
    const AddressAllocation to = std::move(from);
    EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(to.size(), 0x100u);
    EXPECT_EQ(window->available(), 0xf00u);
  }
  EXPECT_EQ(window->available(), 0x1000u);
}

TEST(AddressAllocationTest, AssigningGivesBackWhatWasHeld) {
  const auto window = Window(0, 0x1000);
  AddressAllocation a = window->Allocate(0x100).value();
  AddressAllocation b = window->Allocate(0x200).value();
  const uint64_t address = b.address();
  a = std::move(b);
  EXPECT_EQ(a.address(), address);
  EXPECT_EQ(window->available(), 0xe00u);
}

TEST(AddressAllocationTest, AssigningToItselfKeepsIt) {
  const auto window = Window(0, 0x1000);
  AddressAllocation range = window->Allocate(0x100).value();
  AddressAllocation& same = range;
  range = std::move(same);
  EXPECT_EQ(range.size(), 0x100u);
  EXPECT_EQ(window->available(), 0xf00u);
}

TEST(AddressAllocationTest, MayOutliveItsAllocator) {
  auto window = Window(0x1000, 0x1000);
  const AddressAllocation range = window->Allocate(0x100).value();
  window.reset();
  EXPECT_EQ(range.address(), 0x1000u);
}

TEST(AddressAllocatorTest, LiveRangesNeverOverlapAndAreAligned) {
  constexpr uint64_t kBase = 0xfee00000;
  constexpr uint64_t kSize = 0x40000;
  const auto window = Window(kBase, kSize);
  std::map<uint64_t, AddressAllocation> live;
  uint64_t used = 0;
  std::mt19937_64 random(42);
  for (int step = 0; step < 5000; ++step) {
    const uint64_t size = 1 + random() % (uint64_t{1} << (random() % 13));
    const uint64_t alignment =
        random() % 2 == 0 ? 0 : uint64_t{1} << (random() % 14);
    absl::StatusOr<AddressAllocation> range = AddressAllocation();
    switch (random() % 3) {
      case 0:
        range = window->Allocate(size, alignment);
        if (range.ok()) {
          EXPECT_EQ(range->address() %
                        (alignment == 0 ? std::bit_ceil(size) : alignment),
                    0u);
        }
        break;
      case 1:
        range = window->AllocateAt(kBase + random() % kSize, size);
        break;
      default:
        if (live.empty()) continue;
        auto victim = live.lower_bound(kBase + random() % kSize);
        if (victim == live.end()) victim = live.begin();
        used -= victim->second.size();
        live.erase(victim);
        break;
    }
    if (range.ok() && !range->empty()) {
      ASSERT_EQ(range->size(), size);
      ASSERT_GE(range->address(), kBase);
      ASSERT_LE(range->address() + size, kBase + kSize);
      const auto next = live.upper_bound(range->address());
      if (next != live.end()) {
        ASSERT_LE(range->address() + size, next->first);
      }
      if (next != live.begin()) {
        const AddressAllocation& previous = std::prev(next)->second;
        ASSERT_LE(previous.address() + previous.size(), range->address());
      }
      used += size;
      const uint64_t address = range->address();
      live.emplace(address, *std::move(range));
    }
    ASSERT_EQ(window->available(), kSize - used);
  }
  live.clear();
  EXPECT_EQ(window->largest_gap(), kSize);
}

TEST(AddressAllocatorTest, ThreadsShareIt) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kEach = 200;
  const auto window = Window(0, kThreads * (kEach + 1) * 0x1000);
  std::vector<std::vector<AddressAllocation>> kept(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&window, &mine = kept[t]] {
      mine.reserve(kEach);
      for (uint64_t i = 0; i < kEach; ++i) {
        mine.push_back(window->Allocate(0x1000).value());
        // Allocates a second range and gives it back at once.
        (void)window->Allocate(0x1000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::map<uint64_t, int> seen;
  for (const auto& mine : kept)
    for (const AddressAllocation& range : mine) ++seen[range.address()];
  EXPECT_EQ(seen.size(), kThreads * kEach);
  EXPECT_EQ(window->available(), kThreads * 0x1000u);
}

}  // namespace
}  // namespace passthru::allocator
