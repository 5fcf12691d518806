// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/identity.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(IdentityOverrideTest, NothingIsOverriddenByDefault) {
  const IdentityOverride identity;
  EXPECT_THAT(identity.Check(), IsOk());
  EXPECT_THAT(identity.Describe(pci::CapturedNvme().bytes()), IsEmpty());
}

TEST(IdentityOverrideTest, AnAbsentVendorIsRefused) {
  for (const uint16_t vendor : {0xffff, 0x0001, 0x0000}) {
    EXPECT_THAT((IdentityOverride{.vendor_id = vendor}.Check()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("belongs to no vendor")));
  }
  EXPECT_THAT(
      IdentityOverride{.subsystem_vendor_id = 0xffff}.Check(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("subsystem")));
  EXPECT_THAT(IdentityOverride{.subsystem_vendor_id = 0}.Check(), IsOk());
}

TEST(IdentityOverrideTest, ABridgeIsRefused) {
  const auto check = [](pci::ClassCode code) {
    return IdentityOverride{.class_code = code}.Check();
  };
  EXPECT_THAT(
      check({.base = 0x06, .sub = 0x04}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("060400")));
  EXPECT_THAT(
      check({.base = 0x06, .sub = 0x07}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bridge")));
  // Other bridges have the header of a device.
  EXPECT_THAT(check({.base = 0x06, .sub = 0x01}), IsOk());
}

TEST(IdentityOverrideTest, EachRegisterAloneChanges) {
  absl::StatusOr<pci::ConfigSpace> space =
      pci::ConfigSpace::FromBytes(pci::CapturedNvme().bytes());
  ASSERT_THAT(space, IsOk());
  const IdentityOverride identity = {.device_id = 0x5845,
                                     .class_code = pci::ClassCode{1, 6, 1}};
  identity.Apply(*space);
  EXPECT_EQ(space->Get(pci::kVendorId), 0x1b36);
  EXPECT_EQ(space->Get(pci::kDeviceId), 0x5845);
  EXPECT_EQ(space->Read(0x08, 4), 0x01060102u);
  EXPECT_THAT(identity.Describe(pci::CapturedNvme().bytes()),
              ElementsAre("the device ID is 5845, the device's own 0010",
                          "the class is 010601, the device's own 010802"));
}

}  // namespace
}  // namespace passthru::vfio_pci
