// SPDX-License-Identifier: Apache-2.0

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/test_areas.h"

namespace passthru::memory {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class TranslateTest : public testing::Test {
 protected:
  TranslateTest() {
    EXPECT_THAT(map_.Add(Ram("low", 1, 2)), IsOk());
    EXPECT_THAT(map_.Add(Ram("next", 3, 1)), IsOk());
    MemoryArea rom = Ram("rom", 8, 1);
    rom.read_only = true;
    EXPECT_THAT(map_.Add(rom), IsOk());
    MemoryArea bar = Ram("0000:01:00.0 BAR 0", 16, 1);
    bar.kind = MemoryArea::Kind::kDeviceBar;
    EXPECT_THAT(map_.Add(bar), IsOk());
  }

  GuestMemoryMap map_;
};

TEST_F(TranslateTest, FindsTheHostAddress) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage + 0x123), 4),
              IsOkAndHolds(Host(0x10000000 + kPage + 0x123)));
}

TEST_F(TranslateTest, TheWholeAreaIsInReach) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 2 * kPage),
              IsOkAndHolds(Host(0x10000000 + kPage)));
  EXPECT_THAT(map_.Translate(GuestAddress(3 * kPage - 1), 1), IsOk());
}

TEST_F(TranslateTest, RefusesSizeZero) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(TranslateTest, RefusesWhereNothingIs) {
  for (const uint64_t address :
       {uint64_t{0}, kPage - 1, 4 * kPage, 9 * kPage, ~uint64_t{0}}) {
    EXPECT_THAT(map_.Translate(GuestAddress(address), 1),
                StatusIs(absl::StatusCode::kNotFound,
                         HasSubstr(absl::StrCat(GuestAddress(address)))));
  }
}

// The host memory of adjacent areas need not be contiguous.
TEST_F(TranslateTest, RefusesToCrossIntoAnotherArea) {
  EXPECT_THAT(map_.Translate(GuestAddress(3 * kPage - 1), 2),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("0x2 bytes"), HasSubstr("low"))));
}

TEST_F(TranslateTest, ASizeNearTheEndOfTheAddressSpaceDoesNotWrap) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage + 1), ~uint64_t{0}),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(TranslateTest, ReadOnlyMemoryMayBeRead) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8, Access::kRead),
              IsOk());
}

TEST_F(TranslateTest, ReadOnlyMemoryMayNotBeWritten) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8, Access::kWrite),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rom")));
}

TEST_F(TranslateTest, WantsToWriteUnlessTold) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(TranslateTest, ADevicesBarIsNotMemory) {
  EXPECT_THAT(map_.Translate(GuestAddress(16 * kPage), 4, Access::kRead),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("0000:01:00.0 BAR 0")));
}

}  // namespace
}  // namespace passthru::memory
