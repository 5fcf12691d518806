// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_msi.h"

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/guest/linux/pci_alloc_irq_vectors.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

constexpr pci::Bdf kSlot(0, 0, 1, 0);

class LinuxMsiTest : public ::testing::Test {
 protected:
  LinuxMsiTest() : guest_(&machine_, machine_.layout()) {}

  void Add(const DirectFunction::Options& options) {
    function_ = &machine_.AddFunction(kSlot, options, nullptr);
    device_ = ProbeDevice(&guest_.config(), kSlot, {});
    PciSetMaster(*device_);
    machine_.ClearTrace();
  }
  std::unique_ptr<LinuxMsi> Enable(uint16_t vectors) {
    auto msi = LinuxMsi::Enable(guest_.irq_context(), *device_, vectors);
    EXPECT_THAT(msi, IsOk());
    return *std::move(msi);
  }

  DirectMachine machine_;
  GuestMachine guest_;
  DirectFunction* function_ = nullptr;
  std::unique_ptr<LinuxPciDevice> device_;
};

TEST_F(LinuxMsiTest, EnableWithoutMasksIsInLinuxsOrder) {
  Add(CapturedEdu());
  Enable(1);
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg r2 042", "cfg r2 042",     //
                          "cfg r2 042", "cfg w2 042=80",  // Enable is cleared.
                          "cfg r2 042", "cfg w2 042=80",  // The message.
                          "cfg w4 044=fee00000", "cfg w4 048=0",
                          "cfg w2 04c=ef", "cfg r2 042",    //
                          "cfg r2 004", "cfg w2 004=507",   // INTx is turned
                                                            // off.
                          "cfg r2 042", "cfg w2 042=81"));  // Enable is set.
}

TEST_F(LinuxMsiTest, RequestRewritesTheMessageWhileEnabled) {
  Add(CapturedEdu());
  const auto msi = Enable(1);
  machine_.ClearTrace();
  int taken = 0;
  ASSERT_THAT(msi->Request(0, "test", [&taken] { ++taken; }), IsOk());
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg r2 042", "cfg w2 042=81", "cfg w4 044=fee00000",
                          "cfg w4 048=0", "cfg w2 04c=30", "cfg r2 042"));
  function_->RaiseMsi(0);
  EXPECT_THAT(
      guest_.interrupts().WaitUntil("it", [&taken] { return taken == 1; }),
      IsOk());
}

TEST_F(LinuxMsiTest, SeveralMessagesWithMasks) {
  Add(MixedFunction(false));
  const auto msi = Enable(4);
  EXPECT_EQ(msi->count(), 4);
  // Four messages are enabled and all masked. The capability is at 0x50 and the
  // masks are at 0x60.
  EXPECT_EQ(function_->ConfigRead(0x52, 2), 0x01a5u);
  EXPECT_EQ(function_->ConfigRead(0x60, 4), 0xfu);
  for (uint16_t i = 0; i < 4; ++i) {
    ASSERT_THAT(msi->Request(i, "test", [] {}), IsOk());
  }
  EXPECT_EQ(function_->ConfigRead(0x60, 4), 0x0u);
  EXPECT_EQ(msi->message(0).data % 4, 0u);
  EXPECT_EQ(msi->message(3).data, msi->message(0).data + 3);
  msi->Mask(2);
  EXPECT_EQ(function_->ConfigRead(0x60, 4), 0x4u);
  function_->RaiseMsi(3);
  EXPECT_EQ(machine_.WaitForInterrupt(), msi->message(3));
  msi->Free();
  EXPECT_EQ(function_->ConfigRead(0x60, 4), 0x0u);
}

TEST_F(LinuxMsiTest, CountIsRoundedDownToAPowerOfTwo) {
  Add(MixedFunction(false));
  EXPECT_EQ(Enable(3)->count(), 2);
}

TEST_F(LinuxMsiTest, FreeDisablesAndGivesThePinBack) {
  Add(CapturedEdu());
  const auto msi = Enable(1);
  ASSERT_THAT(msi->Request(0, "test", [] {}), IsOk());
  machine_.ClearTrace();
  msi->Free();
  EXPECT_THAT(machine_.trace(), ElementsAre("cfg r2 042", "cfg w2 042=80",
                                            "cfg r2 004", "cfg w2 004=107"));
  EXPECT_FALSE(device_->msi_enabled);
}

TEST_F(LinuxMsiTest, TooManyVectorsAreRefused) {
  Add(CapturedEdu());
  EXPECT_EQ(MsiVectorCount(*device_), 1);
  EXPECT_THAT(LinuxMsi::Enable(guest_.irq_context(), *device_, 2),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(LinuxMsi::Enable(guest_.irq_context(), *device_, 0),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(LinuxMsiTest, ReservedCountMeansNone) {
  DirectFunction::Options options = CapturedEdu();
  options.config[0x42] = 0x8e;
  Add(options);
  EXPECT_EQ(MsiVectorCount(*device_), 0);
}

TEST_F(LinuxMsiTest, AllocationFallsBackToMsi) {
  Add(CapturedEdu());
  auto vectors = PciAllocIrqVectors(guest_.irq_context(), *device_, 1, 8);
  ASSERT_THAT(vectors, IsOk());
  EXPECT_EQ((*vectors)->kind(), "MSI");
  EXPECT_EQ((*vectors)->count(), 1);
}

}  // namespace
}  // namespace passthru::guest
