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
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"

namespace passthru::allocator {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint32_t kLastId = std::numeric_limits<uint32_t>::max();

static_assert(absl::string_view(Gsi::kName) == "GSI");
static_assert(absl::string_view(MemorySlot::kName) == "memory slot");

using Ids = testing::Types<Gsi, MemorySlot>;

template <typename Id>
class IdAllocatorTest : public testing::Test {};
TYPED_TEST_SUITE(IdAllocatorTest, Ids);

template <typename Id>
class IdAllocationTest : public testing::Test {};
TYPED_TEST_SUITE(IdAllocationTest, Ids);

TYPED_TEST(IdAllocatorTest, HandsOutIdsFromTheFirst) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(24), 2).value();
  const IdAllocation<TypeParam> a = ids->Allocate().value();
  const IdAllocation<TypeParam> b = ids->Allocate().value();
  EXPECT_EQ(a.id(), TypeParam(24));
  EXPECT_EQ(b.id(), TypeParam(25));
  EXPECT_EQ(ids->available(), 0u);
  EXPECT_EQ(ids->capacity(), 2u);
}

TYPED_TEST(IdAllocatorTest, TheFirstMayBeZero) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(0), 8).value();
  const IdAllocation<TypeParam> id = ids->Allocate().value();
  EXPECT_EQ(id.id(), TypeParam(0));
  EXPECT_EQ(ids->available(), 7u);
  EXPECT_EQ(ids->capacity(), 8u);
}

TYPED_TEST(IdAllocatorTest, SaysThatIdsAreInUse) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(24), 1).value();
  const IdAllocation<TypeParam> only = ids->Allocate().value();
  EXPECT_THAT(ids->Allocate().status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       absl::StrCat("all 1 ", TypeParam::kName,
                                    "s from 24 on are in use")));
}

TYPED_TEST(IdAllocatorTest, RefusesACountOfZero) {
  EXPECT_THAT(IdAllocator<TypeParam>::Create(TypeParam(0), 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(absl::StrCat("no ", TypeParam::kName))));
}

TYPED_TEST(IdAllocatorTest, RefusesIdsBeyond32Bits) {
  EXPECT_THAT(
      IdAllocator<TypeParam>::Create(TypeParam(2), kLastId),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr(absl::StrCat(TypeParam::kName,
                                      "s from 2 on do not fit in 32 bits"))));
}

TYPED_TEST(IdAllocatorTest, TheLastIdIsUsable) {
  const auto ids =
      IdAllocator<TypeParam>::Create(TypeParam(kLastId), 1).value();
  const IdAllocation<TypeParam> id = ids->Allocate().value();
  EXPECT_EQ(id.id(), TypeParam(kLastId));
  EXPECT_THAT(ids->Allocate(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TYPED_TEST(IdAllocatorTest, AllIdsInOneAllocatorMayBe32Bits) {
  const auto ids =
      IdAllocator<TypeParam>::Create(TypeParam(1), kLastId).value();
  EXPECT_EQ(ids->available(), kLastId);
}

TYPED_TEST(IdAllocatorTest, TheLowestFreeIdIsNext) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(10), 10).value();
  std::vector<IdAllocation<TypeParam>> live;
  live.reserve(10);
  for (int i = 0; i < 6; ++i) live.push_back(ids->Allocate().value());
  live[4].Release();
  live[1].Release();
  live[3].Release();
  std::vector<uint32_t> next;
  for (int i = 0; i < 4; ++i) {
    live.push_back(ids->Allocate().value());
    next.push_back(live.back().id().value());
  }
  EXPECT_THAT(next, testing::ElementsAre(11, 13, 14, 16));
}

TYPED_TEST(IdAllocationTest, ADefaultOneOwnsNothing) {
  IdAllocation<TypeParam> none;
  EXPECT_TRUE(none.empty());
  none.Release();
}

TYPED_TEST(IdAllocationTest, ReleasingTwiceGivesBackOnce) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(0), 2).value();
  IdAllocation<TypeParam> id = ids->Allocate().value();
  id.Release();
  id.Release();
  EXPECT_EQ(ids->available(), 2u);
}

TYPED_TEST(IdAllocationTest, MovingMovesOwnership) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(7), 2).value();
  IdAllocation<TypeParam> from = ids->Allocate().value();
  {
    const IdAllocation<TypeParam> to = std::move(from);
    EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(to.id(), TypeParam(7));
    EXPECT_EQ(ids->available(), 1u);
  }
  EXPECT_EQ(ids->available(), 2u);
}

TYPED_TEST(IdAllocationTest, AssigningGivesBackWhatWasHeld) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(7), 2).value();
  IdAllocation<TypeParam> a = ids->Allocate().value();
  IdAllocation<TypeParam> b = ids->Allocate().value();
  a = std::move(b);
  EXPECT_EQ(a.id(), TypeParam(8));
  EXPECT_EQ(ids->available(), 1u);
}

TYPED_TEST(IdAllocationTest, AssigningToItselfKeepsIt) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(7), 2).value();
  IdAllocation<TypeParam> id = ids->Allocate().value();
  IdAllocation<TypeParam>& same = id;
  id = std::move(same);
  EXPECT_EQ(id.id(), TypeParam(7));
  EXPECT_EQ(ids->available(), 1u);
}

TYPED_TEST(IdAllocationTest, GivesBackOnDestruction) {
  const auto ids = IdAllocator<TypeParam>::Create(TypeParam(24), 1).value();
  { const IdAllocation<TypeParam> id = ids->Allocate().value(); }
  EXPECT_EQ(ids->available(), 1u);
}

TYPED_TEST(IdAllocationTest, MayOutliveItsAllocator) {
  auto ids = IdAllocator<TypeParam>::Create(TypeParam(7), 2).value();
  IdAllocation<TypeParam> id = ids->Allocate().value();
  ids.reset();
  EXPECT_EQ(id.id(), TypeParam(7));
  EXPECT_FALSE(id.empty());
  id.Release();
  EXPECT_TRUE(id.empty());
}

TYPED_TEST(IdAllocatorTest, AgreesWithASetOfFreeIds) {
  constexpr uint32_t kFirst = 24;
  constexpr uint32_t kCount = 50;
  const auto ids =
      IdAllocator<TypeParam>::Create(TypeParam(kFirst), kCount).value();
  std::set<uint32_t> free;
  for (uint32_t i = 0; i < kCount; ++i) free.insert(kFirst + i);
  std::vector<IdAllocation<TypeParam>> live;
  std::mt19937 random(7);
  for (int step = 0; step < 10000; ++step) {
    if (random() % 2 == 0) {
      absl::StatusOr<IdAllocation<TypeParam>> id = ids->Allocate();
      ASSERT_EQ(id.ok(), !free.empty());
      if (!id.ok()) continue;
      ASSERT_EQ(id->id().value(), *free.begin());
      free.erase(free.begin());
      live.push_back(*std::move(id));
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      free.insert(live.back().id().value());
      live.pop_back();
    }
    ASSERT_EQ(ids->available(), free.size());
  }
}

TYPED_TEST(IdAllocatorTest, ThreadsShareIt) {
  constexpr uint32_t kThreads = 4;
  constexpr uint32_t kEach = 500;
  constexpr size_t kKept = size_t{kThreads} * kEach;
  // One spare id for each thread's temporary allocation.
  const auto ids =
      IdAllocator<TypeParam>::Create(TypeParam(0), kThreads * (kEach + 1))
          .value();
  std::vector<std::vector<IdAllocation<TypeParam>>> kept(kThreads);
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
    for (const IdAllocation<TypeParam>& id : mine) seen.insert(id.id().value());
  EXPECT_EQ(seen.size(), kKept);
}

}  // namespace
}  // namespace passthru::allocator
