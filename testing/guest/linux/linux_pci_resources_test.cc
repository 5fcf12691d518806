// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_resources.h"

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LinuxPciResourcesTest : public ::testing::Test {
 protected:
  LinuxPciResourcesTest() : config_(&machine_, machine_.layout()) {}

  std::unique_ptr<LinuxPciDevice> Add(uint8_t slot,
                                      const DirectFunction::Options& options) {
    const pci::Bdf bdf(0, 0, slot, 0);
    function_ = &machine_.AddFunction(bdf, options, nullptr);
    std::unique_ptr<LinuxPciDevice> device = ProbeDevice(&config_, bdf, {});
    machine_.ClearTrace();
    return device;
  }

  DirectMachine machine_;
  LinuxConfigAccess config_;
  DirectFunction* function_ = nullptr;
};

TEST_F(LinuxPciResourcesTest, A64BitBarIsWrittenWithDecodeOff) {
  const auto device = Add(1, CapturedNvme());
  ASSERT_THAT(UpdateResource(*device, 0, 0x800004000), IsOk());
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg r2 004", "cfg w2 004=101", "cfg w4 010=4004",
                          "cfg r4 010", "cfg w4 014=8", "cfg r4 014",
                          "cfg w2 004=103"));
  EXPECT_EQ(device->FindBar(0)->address, 0x800004000u);
  EXPECT_TRUE(function_->FindMemory(0x800004000).has_value());
}

TEST_F(LinuxPciResourcesTest, A32BitBarIsWrittenUnderway) {
  const auto device = Add(1, CapturedEdu());
  ASSERT_THAT(UpdateResource(*device, 0, 0xc0100000), IsOk());
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg w4 010=c0100000", "cfg r4 010"));
}

TEST_F(LinuxPciResourcesTest, AnIoBarKeepsItsFlag) {
  const auto device = Add(1, MixedFunction(false));
  ASSERT_THAT(UpdateResource(*device, 1, 0x2000), IsOk());
  EXPECT_THAT(machine_.trace(), ElementsAre("cfg w4 014=2001", "cfg r4 014"));
}

TEST_F(LinuxPciResourcesTest, WhatDoesNotReadBackIsAnError) {
  const auto device = Add(1, CapturedEdu());
  // The register cannot hold an address that is aligned to half the BAR's size.
  EXPECT_THAT(UpdateResource(*device, 0, 0xc0080000),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("error updating (0xc0080000 != 0xc0000000)")));
}

TEST_F(LinuxPciResourcesTest, AnAbsentBarIsNotFound) {
  const auto device = Add(1, CapturedEdu());
  EXPECT_THAT(UpdateResource(*device, 3, 0),
              StatusIs(absl::StatusCode::kNotFound));
  PciResources resources(machine_.layout());
  EXPECT_THAT(resources.Move(*device, 3),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(LinuxPciResourcesTest, FirmwareAssignmentInsideAWindowStays) {
  GuestLayout layout = machine_.layout();
  layout.memory32_window = {0xfe000000, 0x1000000};
  PciResources resources(layout);
  const auto device = Add(1, CapturedEdu());
  resources.Claim(*device);
  ASSERT_THAT(resources.AssignUnclaimed(*device), IsOk());
  EXPECT_THAT(machine_.trace(), ElementsAre());
  EXPECT_EQ(device->FindBar(0)->address, 0xfe900000u);
}

TEST_F(LinuxPciResourcesTest, ConflictingAssignmentsAreMoved) {
  GuestLayout layout = machine_.layout();
  layout.memory32_window = {0xfe800000, 0x800000};
  PciResources resources(layout);
  const auto first = Add(1, CapturedEdu());
  const auto second = Add(2, CapturedEdu());
  resources.Claim(*first);
  resources.Claim(*second);
  ASSERT_THAT(resources.AssignUnclaimed(*first), IsOk());
  ASSERT_THAT(resources.AssignUnclaimed(*second), IsOk());
  EXPECT_EQ(first->FindBar(0)->address, 0xfe900000u);
  EXPECT_EQ(second->FindBar(0)->address, 0xfe800000u);
}

TEST_F(LinuxPciResourcesTest, UnplacedBarsGetAlignedPlacesOfTheirKind) {
  PciResources resources(machine_.layout());
  const auto device = Add(1, MixedFunction(false));
  resources.Claim(*device);
  ASSERT_THAT(resources.AssignUnclaimed(*device), IsOk());
  EXPECT_EQ(device->FindBar(0)->address, 0xc0000000u);
  EXPECT_EQ(device->FindBar(1)->address, 0x1000u);
  EXPECT_EQ(device->FindBar(2)->address, 0x800000000u);
}

TEST_F(LinuxPciResourcesTest, A64BitBarFallsBackBelow4GiB) {
  GuestLayout layout = machine_.layout();
  layout.memory64_window = {};
  PciResources resources(layout);
  const auto device = Add(1, CapturedNvme());
  resources.Claim(*device);
  ASSERT_THAT(resources.AssignUnclaimed(*device), IsOk());
  EXPECT_EQ(device->FindBar(0)->address, 0xc0000000u);
}

TEST_F(LinuxPciResourcesTest, NoRoomIsAnError) {
  GuestLayout layout = machine_.layout();
  layout.memory32_window = {0xc0000000, 0x80000};
  PciResources resources(layout);
  const auto device = Add(1, CapturedEdu());
  resources.Claim(*device);
  EXPECT_THAT(resources.AssignUnclaimed(*device),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("BAR 0: failed to assign [size 0x100000]")));
}

TEST_F(LinuxPciResourcesTest, MovingFreesTheOldPlace) {
  GuestLayout layout = machine_.layout();
  layout.memory32_window = {0xc0000000, 0x200000};
  PciResources resources(layout);
  const auto device = Add(1, CapturedEdu());
  resources.Claim(*device);
  ASSERT_THAT(resources.AssignUnclaimed(*device), IsOk());
  EXPECT_EQ(device->FindBar(0)->address, 0xc0000000u);
  ASSERT_THAT(resources.Move(*device, 0), IsOk());
  EXPECT_EQ(device->FindBar(0)->address, 0xc0100000u);
  ASSERT_THAT(resources.Move(*device, 0), IsOk());
  EXPECT_EQ(device->FindBar(0)->address, 0xc0000000u);
}

}  // namespace
}  // namespace passthru::guest
