// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_check.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(CheckCapabilityTest, TakesOneThatIsThere) {
  EXPECT_THAT(
      CheckCapability(CapturedNvme().bytes(), 0x40, CapabilityId::kMsix, 12),
      IsOk());
}

TEST(CheckCapabilityTest, TakesOneThatEndsWithTheSpace) {
  ConfigImage image(4096);
  image.AddCapability(0xf4, 0x11);
  EXPECT_THAT(CheckCapability(image.bytes(), 0xf4, CapabilityId::kMsix, 12),
              IsOk());
}

// A capability of the standard list must not reach into the extended space.
TEST(CheckCapabilityTest, RefusesOneThatCrosses0x100) {
  ConfigImage image(4096);
  image.AddCapability(0xf8, 0x11);
  EXPECT_THAT(CheckCapability(image.bytes(), 0xf8, CapabilityId::kMsix, 12),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("MSI-X"), HasSubstr("0xf8"),
                             HasSubstr("12 bytes"))));
}

TEST(CheckCapabilityTest, RefusesOneInTheHeader) {
  EXPECT_THAT(
      CheckCapability(CapturedNvme().bytes(), 0x3c, CapabilityId::kMsix, 2),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header")));
}

TEST(CheckCapabilityTest, RefusesOneBeyondAShortImage) {
  EXPECT_THAT(
      CheckCapability(CapturedNvme().bytes().first(0x4b), 0x40,
                      CapabilityId::kMsix, 12),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("below 0x4b")));
}

TEST(CheckCapabilityTest, RefusesAnotherId) {
  EXPECT_THAT(
      CheckCapability(CapturedNvme().bytes(), 0x60, CapabilityId::kMsix, 12),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("0x01"), HasSubstr("0x11"))));
}

}  // namespace
}  // namespace passthru::pci
