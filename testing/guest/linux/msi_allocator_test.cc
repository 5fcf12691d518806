// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/msi_allocator.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;

TEST(MsiAllocatorTest, MessagesNameTheApicAndConsecutiveVectors) {
  MsiAllocator messages(/*apic_id=*/3, /*first_vector=*/0x30);
  EXPECT_THAT(messages.Allocate(),
              IsOkAndHolds(GuestMessage{0xfee03000, 0x30}));
  EXPECT_THAT(messages.Allocate(),
              IsOkAndHolds(GuestMessage{0xfee03000, 0x31}));
  EXPECT_EQ(messages.Placeholder(), (GuestMessage{0xfee03000, 0xef}));
}

TEST(MsiAllocatorTest, BlocksAreAligned) {
  MsiAllocator messages(0, 0x31);
  EXPECT_THAT(messages.Allocate(4),
              IsOkAndHolds(GuestMessage{0xfee00000, 0x34}));
  EXPECT_THAT(messages.Allocate(),
              IsOkAndHolds(GuestMessage{0xfee00000, 0x38}));
}

TEST(MsiAllocatorTest, OnlyPowersOfTwoUpTo32) {
  MsiAllocator messages(0, 0x30);
  for (uint16_t count : {0, 3, 33, 64}) {
    EXPECT_THAT(messages.Allocate(count),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << count;
  }
}

TEST(MsiAllocatorTest, EndsBelowTheSystemVectors) {
  MsiAllocator messages(0, 0xea);
  EXPECT_THAT(messages.Allocate(4),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(messages.Allocate(2),
              IsOkAndHolds(GuestMessage{0xfee00000, 0xea}));
  EXPECT_THAT(messages.Allocate(),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(MsiAllocatorDeathTest, ExceptionVectorsAreNotForDevices) {
  EXPECT_DEATH(MsiAllocator(0, 0x1f), "first_vector");
}

}  // namespace
}  // namespace passthru::guest
