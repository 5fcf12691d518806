// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_core.h"

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr pci::Bdf kCoreSlot(0, 0, 1, 0);

class LinuxPciCoreTest : public ::testing::Test {
 protected:
  LinuxPciCoreTest() : config_(&machine_, machine_.layout()) {}

  void Add(const DirectFunction::Options& options) {
    function_ = &machine_.AddFunction(kCoreSlot, options, nullptr);
    device_ = ProbeDevice(&config_, kCoreSlot, {});
    machine_.ClearTrace();
  }

  DirectMachine machine_;
  LinuxConfigAccess config_;
  DirectFunction* function_ = nullptr;
  std::unique_ptr<LinuxPciDevice> device_;
};

TEST_F(LinuxPciCoreTest, EnableTurnsOnTheKindsOfDecodeThereAre) {
  Add(MixedFunction(false));
  ASSERT_THAT(PciEnableDevice(*device_), IsOk());
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0003u);
  Add(CapturedEdu());
  function_->ConfigWrite(0x04, 2, 0x0400);
  ASSERT_THAT(PciEnableDevice(*device_), IsOk());
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0002u);
}

TEST_F(LinuxPciCoreTest, EnableWritesNothingThatIsSetAlready) {
  Add(CapturedEdu());
  ASSERT_THAT(PciEnableDevice(*device_), IsOk());
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg r2 004", "cfg r1 03d", "cfg r2 004"));
}

TEST_F(LinuxPciCoreTest, MasteringIsSetAndCleared) {
  Add(CapturedNvme());
  PciSetMaster(*device_);
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0107u);
  PciDisableDevice(*device_);
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0103u);
}

TEST_F(LinuxPciCoreTest, ConventionalMastersGetALatencyTimer) {
  Add(CapturedEdu());
  PciSetMaster(*device_);
  EXPECT_EQ(function_->ConfigRead(0x0d, 1), 64u);
  Add(CapturedNvme());
  PciSetMaster(*device_);
  EXPECT_EQ(function_->ConfigRead(0x0d, 1), 0u);
}

TEST_F(LinuxPciCoreTest, PowerStateIsWrittenAndReadBack) {
  Add(CapturedNvme());
  ASSERT_THAT(PciSetPowerState(*device_, PciPowerState::kD3hot), IsOk());
  EXPECT_EQ(function_->ConfigRead(0x64, 2), 0x000bu);
  EXPECT_FALSE(function_->FindMemory(0xfe600000).has_value());
  ASSERT_THAT(PciEnableDevice(*device_), IsOk());
  EXPECT_EQ(function_->ConfigRead(0x64, 2), 0x0008u);
  EXPECT_TRUE(function_->FindMemory(0xfe600000).has_value());
}

TEST_F(LinuxPciCoreTest, PowerStateNeedsTheCapability) {
  Add(CapturedEdu());
  EXPECT_THAT(PciSetPowerState(*device_, PciPowerState::kD3hot),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(LinuxPciCoreTest, AStateThatDoesNotStickIsAnError) {
  DirectFunction::Options options = CapturedNvme();
  Add(options);
  // A vendor-specific capability takes the place of power management, so that
  // the power state bits are read-only.
  options.config[0x60] = 0x09;
  function_ = &machine_.AddFunction(kCoreSlot, options, nullptr);
  EXPECT_THAT(
      PciSetPowerState(*device_, PciPowerState::kD3hot),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("still in D0")));
}

TEST_F(LinuxPciCoreTest, FunctionResetRestoresTheConfiguration) {
  Add(CapturedNvme());
  PciSetMaster(*device_);
  function_->ConfigWrite(0x10, 4, 0xc0000000);
  function_->ConfigWrite(0x14, 4, 0x8);
  ASSERT_THAT(PciResetFunction(*device_), IsOk());
  EXPECT_EQ(function_->resets(), 1);
  EXPECT_EQ(function_->ConfigRead(0x10, 4), 0xc0000004u);
  EXPECT_EQ(function_->ConfigRead(0x14, 4), 0x8u);
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0107u);
}

TEST_F(LinuxPciCoreTest, FunctionIsSilencedBeforeItsReset) {
  Add(CapturedNvme());
  ASSERT_THAT(PciResetFunction(*device_), IsOk());
  std::string writes;
  for (const std::string& line : machine_.trace()) {
    if (line[4] == 'w') writes += line + ";";
  }
  EXPECT_THAT(writes, HasSubstr("cfg w2 004=400;cfg w2 088=8000;"));
}

TEST_F(LinuxPciCoreTest, FunctionResetNeedsTheCapability) {
  Add(CapturedEdu());
  EXPECT_THAT(PciResetFunction(*device_),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(function_->resets(), 0);
}

TEST_F(LinuxPciCoreTest, FunctionResetWantsInterruptsOff) {
  Add(CapturedNvme());
  device_->msix_enabled = true;
  EXPECT_THAT(PciResetFunction(*device_),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(machine_.trace(), IsEmpty());
}

}  // namespace
}  // namespace passthru::guest
