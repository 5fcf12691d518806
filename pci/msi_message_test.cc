// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msi_message.h"

#include "absl/hash/hash_testing.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(MsiMessageTest, Prints) {
  EXPECT_EQ(absl::StrCat(MsiMessage{.address = 0xfee01000, .data = 0x41}),
            "address 0xfee01000 data 0x0041");
}

TEST(MsiMessageTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {MsiMessage{}, MsiMessage{.address = 0xfee00000},
       MsiMessage{.data = 0x41},
       MsiMessage{.address = 0xfee00000, .data = 0x41}}));
}

TEST(ValidateMsiMessageTest, TakesTheWholeWindow) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x4041}),
              IsOk());
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfeeffffc, .data = 0x40ef}),
              IsOk());
}

// With KVM_CAP_X2APIC_API, bits 63:40 are bits 31:8 of the destination.
TEST(ValidateMsiMessageTest, TakesAnX2apicDestination) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0x00000100fee00000, .data = 0x41}),
              IsOk());
}

TEST(ValidateMsiMessageTest, TakesModesThatCarryNoVector) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x0200}),
              IsOk());  // SMI
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x0400}),
              IsOk());  // NMI
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x0500}),
              IsOk());  // INIT
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x0700}),
              IsOk());  // ExtINT
}

// The registers hold zero after reset.
TEST(ValidateMsiMessageTest, RefusesZero) {
  EXPECT_THAT(ValidateMsiMessage({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ValidateMsiMessageTest, RefusesAnAddressOutsideOfTheWindow) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfedffffc, .data = 0x41}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("0xfedffffc"), HasSubstr("window"))));
  EXPECT_THAT(
      ValidateMsiMessage({.address = 0xfef00000, .data = 0x41}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("window")));
}

TEST(ValidateMsiMessageTest, RefusesAnAddressThatIsNotAligned) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00001, .data = 0x41}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("multiple of four")));
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00002, .data = 0x41}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("multiple of four")));
}

// kvm_set_routing_entry() fails for such an entry, and the whole table with it.
TEST(ValidateMsiMessageTest, RefusesBits39To32) {
  EXPECT_THAT(ValidateMsiMessage({.address = 0x1fee00000, .data = 0x41}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("39:32")));
  EXPECT_THAT(ValidateMsiMessage({.address = 0x80fee00000, .data = 0x41}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("39:32")));
}

TEST(ValidateMsiMessageTest, RefusesReservedDeliveryModes) {
  EXPECT_THAT(
      ValidateMsiMessage({.address = 0xfee00000, .data = 0x0341}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reserved")));
  EXPECT_THAT(
      ValidateMsiMessage({.address = 0xfee00000, .data = 0x0641}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reserved")));
}

TEST(ValidateMsiMessageTest, RefusesVectorsBelow16) {
  EXPECT_THAT(
      ValidateMsiMessage({.address = 0xfee00000, .data = 0x000f}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("below 16")));
  EXPECT_THAT(
      ValidateMsiMessage({.address = 0xfee00000, .data = 0x010f}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("below 16")));
  EXPECT_THAT(ValidateMsiMessage({.address = 0xfee00000, .data = 0x0010}),
              IsOk());
}

}  // namespace
}  // namespace passthru::pci
