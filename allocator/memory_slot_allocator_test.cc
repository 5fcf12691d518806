// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/memory_slot_allocator.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gtest/gtest.h"
#include "passthru/allocator/memory_slot.h"

namespace passthru::allocator {
namespace {

using ::absl_testing::StatusIs;

TEST(MemorySlotAllocatorTest, StartsAtZeroUnlessTold) {
  const auto slots = MemorySlotAllocator::Create(8).value();
  const MemorySlotAllocation slot = slots->Allocate().value();
  EXPECT_EQ(slot.slot(), MemorySlot(0));
  EXPECT_EQ(slots->available(), 7u);
  EXPECT_EQ(slots->capacity(), 8u);
}

TEST(MemorySlotAllocatorTest, LeavesTheSlotsBelowTheFirstAlone) {
  const auto slots = MemorySlotAllocator::Create(8, MemorySlot(3)).value();
  const MemorySlotAllocation slot = slots->Allocate().value();
  EXPECT_EQ(slot.slot(), MemorySlot(3));
}

TEST(MemorySlotAllocatorTest, SaysThatSlotsAreInUse) {
  const auto slots = MemorySlotAllocator::Create(1, MemorySlot(3)).value();
  const MemorySlotAllocation only = slots->Allocate().value();
  EXPECT_THAT(slots->Allocate().status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "all 1 memory slots from 3 on are in use"));
}

TEST(MemorySlotAllocatorTest, RefusesAnEmptyRange) {
  EXPECT_THAT(MemorySlotAllocator::Create(0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(MemorySlotAllocationTest, GivesBackOnDestruction) {
  const auto slots = MemorySlotAllocator::Create(1).value();
  { const MemorySlotAllocation slot = slots->Allocate().value(); }
  EXPECT_EQ(slots->available(), 1u);
}

TEST(MemorySlotAllocationTest, MayOutliveItsAllocator) {
  auto slots = MemorySlotAllocator::Create(1).value();
  MemorySlotAllocation slot = slots->Allocate().value();
  slots.reset();
  EXPECT_FALSE(slot.empty());
  slot.Release();
  EXPECT_TRUE(slot.empty());
}

}  // namespace
}  // namespace passthru::allocator
