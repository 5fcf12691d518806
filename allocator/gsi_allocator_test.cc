// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/gsi_allocator.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"

namespace passthru::allocator {
namespace {

using ::absl_testing::StatusIs;

TEST(GsiAllocatorTest, HandsOutGsisFromTheFirst) {
  const auto gsis = GsiAllocator::Create(Gsi(24), 2).value();
  const GsiAllocation a = gsis->Allocate().value();
  const GsiAllocation b = gsis->Allocate().value();
  EXPECT_EQ(a.gsi(), Gsi(24));
  EXPECT_EQ(b.gsi(), Gsi(25));
  EXPECT_EQ(gsis->available(), 0u);
  EXPECT_EQ(gsis->capacity(), 2u);
}

TEST(GsiAllocatorTest, SaysThatGsisAreInUse) {
  const auto gsis = GsiAllocator::Create(Gsi(24), 1).value();
  const GsiAllocation only = gsis->Allocate().value();
  EXPECT_THAT(gsis->Allocate().status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "all 1 GSIs from 24 on are in use"));
}

TEST(GsiAllocatorTest, RefusesAnEmptyRange) {
  EXPECT_THAT(GsiAllocator::Create(Gsi(24), 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(GsiAllocationTest, GivesBackOnDestruction) {
  const auto gsis = GsiAllocator::Create(Gsi(24), 1).value();
  { const GsiAllocation gsi = gsis->Allocate().value(); }
  EXPECT_EQ(gsis->available(), 1u);
}

TEST(GsiAllocationTest, MayOutliveItsAllocator) {
  auto gsis = GsiAllocator::Create(Gsi(24), 1).value();
  GsiAllocation gsi = gsis->Allocate().value();
  gsis.reset();
  EXPECT_FALSE(gsi.empty());
  gsi.Release();
  EXPECT_TRUE(gsi.empty());
}

}  // namespace
}  // namespace passthru::allocator
