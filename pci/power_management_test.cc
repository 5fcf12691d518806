// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/power_management.h"

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

constexpr uint8_t kPmOffset = 0x60;

ConfigImage PmImage(uint16_t capabilities, uint16_t control_status) {
  ConfigImage image;
  image.AddCapability(kPmOffset, 0x01)
      .Set16(kPmOffset + 2, capabilities)
      .Set16(kPmOffset + 4, control_status);
  return image;
}

TEST(PowerManagementCapabilityTest, ParsesACapturedOne) {
  const ConfigImage image = CapturedNvme();
  const auto pm = PowerManagementCapability::Parse(image.bytes(), 0x60);
  ASSERT_THAT(pm, IsOk());
  EXPECT_EQ(pm->offset(), 0x60);
  EXPECT_EQ(pm->version(), 3);
  EXPECT_TRUE(pm->no_soft_reset());
  EXPECT_FALSE(pm->Supports(PowerState::kD1));
  EXPECT_EQ(PowerManagementCapability::State(image.bytes().subspan(0x60)),
            PowerState::kD0);
}

// PCI PM 1.2 3.2.3. D1 and D2 are optional.
TEST(PowerManagementCapabilityTest, SupportsTheStatesItDeclares) {
  const auto d1 =
      PowerManagementCapability::Parse(PmImage(0x0202, 0).bytes(), kPmOffset);
  ASSERT_THAT(d1, IsOk());
  EXPECT_TRUE(d1->Supports(PowerState::kD1));
  EXPECT_FALSE(d1->Supports(PowerState::kD2));
  const auto d2 =
      PowerManagementCapability::Parse(PmImage(0x0402, 0).bytes(), kPmOffset);
  ASSERT_THAT(d2, IsOk());
  EXPECT_FALSE(d2->Supports(PowerState::kD1));
  EXPECT_TRUE(d2->Supports(PowerState::kD2));
  EXPECT_TRUE(d2->Supports(PowerState::kD0));
  EXPECT_TRUE(d2->Supports(PowerState::kD3Hot));
}

TEST(PowerManagementCapabilityTest, NoSoftResetIsBit3) {
  EXPECT_FALSE(
      PowerManagementCapability::Parse(PmImage(3, 0xfff7).bytes(), kPmOffset)
          ->no_soft_reset());
}

TEST(PowerManagementCapabilityTest, StateIsTheLowTwoBits) {
  const auto state = [](uint16_t control_status) {
    return PowerManagementCapability::State(
        PmImage(3, control_status).bytes().subspan(kPmOffset));
  };
  EXPECT_EQ(state(0xfffc), PowerState::kD0);
  EXPECT_EQ(state(0x0001), PowerState::kD1);
  EXPECT_EQ(state(0x0002), PowerState::kD2);
  EXPECT_EQ(state(0x0103), PowerState::kD3Hot);
}

TEST(PowerManagementCapabilityTest, RefusesAnotherCapability) {
  EXPECT_THAT(PowerManagementCapability::Parse(CapturedNvme().bytes(), 0x40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x11")));
}

TEST(PowerManagementCapabilityTest, RefusesOneThatCrosses0x100) {
  ConfigImage image(4096);
  image.AddCapability(0xfc, 0x01);
  EXPECT_THAT(PowerManagementCapability::Parse(image.bytes(), 0xfc),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PowerStateTest, Names) {
  EXPECT_EQ(Name(PowerState::kD0), "D0");
  EXPECT_EQ(Name(PowerState::kD1), "D1");
  EXPECT_EQ(Name(PowerState::kD2), "D2");
  EXPECT_EQ(Name(PowerState::kD3Hot), "D3hot");
}

}  // namespace
}  // namespace passthru::pci
