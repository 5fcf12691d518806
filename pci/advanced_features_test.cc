// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/advanced_features.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint8_t kOffset = 0x90;

ConfigImage Image(uint8_t length, uint8_t capabilities) {
  ConfigImage image;
  image.AddCapability(kOffset, 0x13)
      .Set8(kOffset + 2, length)
      .Set8(kOffset + 3, capabilities);
  return image;
}

TEST(AfCapabilityTest, FunctionLevelResetNeedsBothBits) {
  const auto flr = [](uint8_t capabilities) {
    return AfCapability::Parse(Image(6, capabilities).bytes(), kOffset)
        ->function_level_reset();
  };
  EXPECT_TRUE(flr(0x03));
  EXPECT_FALSE(flr(0x02));
  EXPECT_FALSE(flr(0x01));
  EXPECT_FALSE(flr(0xfc));
}

TEST(AfCapabilityTest, KnowsItsPlace) {
  const auto af = AfCapability::Parse(Image(6, 3).bytes(), kOffset);
  ASSERT_THAT(af, IsOk());
  EXPECT_EQ(af->offset(), kOffset);
}

TEST(AfCapabilityTest, RefusesAnotherLength) {
  EXPECT_THAT(AfCapability::Parse(Image(5, 3).bytes(), kOffset),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("declares 5 bytes")));
  EXPECT_THAT(AfCapability::Parse(Image(7, 3).bytes(), kOffset),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("declares 7 bytes")));
}

TEST(AfCapabilityTest, RefusesAnotherCapability) {
  EXPECT_THAT(AfCapability::Parse(CapturedNvme().bytes(), 0x40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x11")));
}

TEST(AfCapabilityTest, RefusesOneThatCrosses0x100) {
  ConfigImage image(4096);
  image.AddCapability(0xfc, 0x13).Set8(0xfe, 6);
  EXPECT_THAT(AfCapability::Parse(image.bytes(), 0xfc),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace passthru::pci
