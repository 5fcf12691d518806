// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/id_allocator.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::allocator {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint32_t kMax = std::numeric_limits<uint32_t>::max();

TEST(IdAllocatorTest, RefusesACountOfZero) {
  EXPECT_THAT(
      IdAllocator::Create(0, 0, "GSI"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no GSI")));
}

TEST(IdAllocatorTest, RefusesIdsBeyond32Bits) {
  EXPECT_THAT(IdAllocator::Create(2, kMax, "GSI"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("GSIs from 2 on do not fit in 32 bits")));
}

TEST(IdAllocatorTest, TheLastIdIsUsable) {
  const auto ids = IdAllocator::Create(kMax, 1, "GSI").value();
  const IdAllocation id = ids->Allocate().value();
  EXPECT_EQ(id.value(), kMax);
  EXPECT_THAT(ids->Allocate(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(IdAllocatorTest, AllIdsInOneAllocatorMayBe32Bits) {
  const auto ids = IdAllocator::Create(1, kMax, "GSI").value();
  EXPECT_EQ(ids->available(), kMax);
}

TEST(IdAllocatorTest, TheLowestFreeIdIsNext) {
  const auto ids = IdAllocator::Create(10, 10, "GSI").value();
  std::vector<IdAllocation> live;
  live.reserve(10);
  for (int i = 0; i < 6; ++i) live.push_back(ids->Allocate().value());
  live[4].Release();
  live[1].Release();
  live[3].Release();
  std::vector<uint32_t> next;
  for (int i = 0; i < 4; ++i) {
    live.push_back(ids->Allocate().value());
    next.push_back(live.back().value());
  }
  EXPECT_THAT(next, testing::ElementsAre(11, 13, 14, 16));
}

TEST(IdAllocationTest, ADefaultOneOwnsNothing) {
  IdAllocation none;
  EXPECT_TRUE(none.empty());
  none.Release();
}

TEST(IdAllocationTest, ReleasingTwiceGivesBackOnce) {
  const auto ids = IdAllocator::Create(0, 2, "GSI").value();
  IdAllocation id = ids->Allocate().value();
  id.Release();
  id.Release();
  EXPECT_EQ(ids->available(), 2u);
}

TEST(IdAllocationTest, MovingMovesOwnership) {
  const auto ids = IdAllocator::Create(7, 2, "GSI").value();
  IdAllocation from = ids->Allocate().value();
  {
    const IdAllocation to = std::move(from);
    EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(to.value(), 7u);
    EXPECT_EQ(ids->available(), 1u);
  }
  EXPECT_EQ(ids->available(), 2u);
}

TEST(IdAllocationTest, AssigningGivesBackWhatWasHeld) {
  const auto ids = IdAllocator::Create(7, 2, "GSI").value();
  IdAllocation a = ids->Allocate().value();
  IdAllocation b = ids->Allocate().value();
  a = std::move(b);
  EXPECT_EQ(a.value(), 8u);
  EXPECT_EQ(ids->available(), 1u);
}

TEST(IdAllocationTest, AssigningToItselfKeepsIt) {
  const auto ids = IdAllocator::Create(7, 2, "GSI").value();
  IdAllocation id = ids->Allocate().value();
  IdAllocation& same = id;
  id = std::move(same);
  EXPECT_EQ(id.value(), 7u);
  EXPECT_EQ(ids->available(), 1u);
}

TEST(IdAllocationTest, MayOutliveItsAllocator) {
  auto ids = IdAllocator::Create(7, 2, "GSI").value();
  const IdAllocation id = ids->Allocate().value();
  ids.reset();
  EXPECT_EQ(id.value(), 7u);
}

TEST(IdAllocatorTest, AgreesWithASetOfFreeIds) {
  constexpr uint32_t kFirst = 24;
  constexpr uint32_t kCount = 50;
  const auto ids = IdAllocator::Create(kFirst, kCount, "GSI").value();
  std::set<uint32_t> free;
  for (uint32_t i = 0; i < kCount; ++i) free.insert(kFirst + i);
  std::vector<IdAllocation> live;
  std::mt19937 random(7);
  for (int step = 0; step < 10000; ++step) {
    if (random() % 2 == 0) {
      absl::StatusOr<IdAllocation> id = ids->Allocate();
      ASSERT_EQ(id.ok(), !free.empty());
      if (!id.ok()) continue;
      ASSERT_EQ(id->value(), *free.begin());
      free.erase(free.begin());
      live.push_back(*std::move(id));
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      free.insert(live.back().value());
      live.pop_back();
    }
    ASSERT_EQ(ids->available(), free.size());
  }
}

TEST(IdAllocatorTest, ThreadsShareIt) {
  constexpr uint32_t kThreads = 4;
  constexpr uint32_t kEach = 500;
  constexpr size_t kKept = size_t{kThreads} * kEach;
  // One spare id for each thread's temporary allocation.
  const auto ids =
      IdAllocator::Create(0, kThreads * (kEach + 1), "GSI").value();
  std::vector<std::vector<IdAllocation>> kept(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&ids, &mine = kept[t]] {
      mine.reserve(kEach);
      for (uint32_t i = 0; i < kEach; ++i) {
        mine.push_back(ids->Allocate().value());
        (void)ids->Allocate();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint32_t> seen;
  for (const auto& mine : kept)
    for (const IdAllocation& id : mine) seen.insert(id.value());
  EXPECT_EQ(seen.size(), kKept);
}

}  // namespace
}  // namespace passthru::allocator
