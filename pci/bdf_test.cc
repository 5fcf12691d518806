// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bdf.h"

#include <cstdint>
#include <string>

#include "absl/hash/hash_testing.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(BdfTest, ParsesWithSegment) {
  EXPECT_THAT(Bdf::Parse("10ab:fe:1f.7"),
              IsOkAndHolds(Bdf(0x10ab, 0xfe, 0x1f, 7)));
}

TEST(BdfTest, SegmentIsZeroWhenLeftOut) {
  EXPECT_THAT(Bdf::Parse("01:00.0"), IsOkAndHolds(Bdf(0, 1, 0, 0)));
}

// Intel VMD's domains begin at 0x10000.
TEST(BdfTest, SegmentHasUpToEightDigits) {
  for (const char* const text :
       {"10000:e1:00.0", "1a2b3c:00:1f.7", "ffffffff:ff:1f.7"}) {
    const auto bdf = Bdf::Parse(text);
    ASSERT_THAT(bdf, IsOk());
    EXPECT_EQ(bdf->ToString(), text);
  }
  EXPECT_THAT(Bdf::Parse("10000:e1:00.0"),
              IsOkAndHolds(Bdf(0x10000, 0xe1, 0, 0)));
  EXPECT_THAT(Bdf::Parse("00010000:e1:00.0"),
              IsOkAndHolds(Bdf(0x10000, 0xe1, 0, 0)));
  EXPECT_NE(Bdf(0x10000, 0xe1, 0, 0), Bdf(0, 0xe1, 0, 0));
  EXPECT_LT(Bdf(0xffff, 0xff, 0x1f, 7), Bdf(0x10000, 0, 0, 0));
}

TEST(BdfTest, TakesUpperCaseAndShortNumbers) {
  EXPECT_THAT(Bdf::Parse("0:A:B.1"), IsOkAndHolds(Bdf(0, 0xa, 0xb, 1)));
}

TEST(BdfTest, PrintsTheNameInSysfs) {
  EXPECT_EQ(Bdf(0, 1, 0x1f, 7).ToString(), "0000:01:1f.7");
  EXPECT_EQ(absl::StrCat(Bdf(0xabcd, 0, 0, 0)), "abcd:00:00.0");
}

TEST(BdfTest, ParsesWhatItPrints) {
  for (uint32_t routing_id = 0; routing_id <= 0xffff; routing_id += 7) {
    const Bdf bdf =
        Bdf::FromRoutingId(0x8000, static_cast<uint16_t>(routing_id));
    EXPECT_THAT(Bdf::Parse(bdf.ToString()), IsOkAndHolds(bdf));
  }
}

// PCIe 6.0 2.2.4.2.
TEST(BdfTest, RoutingIdIsBusDeviceFunction) {
  EXPECT_EQ(Bdf(5, 0x12, 0x03, 4).routing_id(), 0x121c);
  EXPECT_EQ(Bdf::FromRoutingId(5, 0x121c), Bdf(5, 0x12, 0x03, 4));
}

TEST(BdfTest, OrdersBySegmentThenRoutingId) {
  EXPECT_LT(Bdf(0, 0xff, 0x1f, 7), Bdf(1, 0, 0, 0));
  EXPECT_LT(Bdf(0, 1, 0x1f, 7), Bdf(0, 2, 0, 0));
  EXPECT_LT(Bdf(0, 1, 2, 7), Bdf(0, 1, 3, 0));
  EXPECT_LT(Bdf(0, 1, 2, 6), Bdf(0, 1, 2, 7));
}

TEST(BdfTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Bdf(), Bdf(1, 0, 0, 0), Bdf(0, 1, 0, 0), Bdf(0, 0, 1, 0),
       Bdf(0, 0, 0, 1)}));
}

struct MalformedCase {
  const char* name;
  const char* text;
  const char* why;
};

class BdfMalformedTest : public ::testing::TestWithParam<MalformedCase> {};

TEST_P(BdfMalformedTest, IsRefusedWithTheReason) {
  EXPECT_THAT(Bdf::Parse(GetParam().text),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::AllOf(HasSubstr(GetParam().text),
                                        HasSubstr(GetParam().why))));
}

INSTANTIATE_TEST_SUITE_P(
    All, BdfMalformedTest,
    ::testing::Values(MalformedCase{"Empty", "", "'.'"},
                      MalformedCase{"NoFunction", "01:00", "'.'"},
                      MalformedCase{"EmptyFunction", "01:00.", "function"},
                      MalformedCase{"FunctionTooLarge", "01:00.8", "function"},
                      MalformedCase{"FunctionTooLong", "01:00.00", "function"},
                      MalformedCase{"NoBus", "00.0", "':'"},
                      MalformedCase{"EmptyBus", ":00.0", "bus"},
                      MalformedCase{"BusTooLong", "100:00.0", "bus"},
                      MalformedCase{"BusNotHex", "0g:00.0", "bus"},
                      MalformedCase{"DeviceTooLarge", "01:20.0", "device"},
                      MalformedCase{"EmptyDevice", "01:.0", "device"},
                      MalformedCase{"NegativeDevice", "01:-1.0", "device"},
                      MalformedCase{"SegmentTooLong", "100000000:01:00.0",
                                    "segment"},
                      MalformedCase{"EmptySegment", ":01:00.0", "segment"},
                      MalformedCase{"FourParts", "0:0:01:00.0", "segment"},
                      MalformedCase{"Prefix", "0x01:00.0", "bus"},
                      MalformedCase{"LeadingBlank", " 1:00.0", "bus"},
                      MalformedCase{"TrailingText", "01:00.0 ", "function"}),
    [](const ::testing::TestParamInfo<MalformedCase>& param) {
      return std::string(param.param.name);
    });

TEST(BdfDeathTest, ProgramsOwnWrongNumberDies) {
  uint8_t device = 32;
  EXPECT_DEATH(Bdf(0, 0, device, 0), "device number 32");
  uint8_t function = 8;
  EXPECT_DEATH(Bdf(0, 0, 0, function), "function number 8");
}

}  // namespace
}  // namespace passthru::pci
