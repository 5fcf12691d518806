// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_msix.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_format.h"
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
using ::testing::ElementsAreArray;

constexpr pci::Bdf kMsixSlot(0, 0, 1, 0);

class LinuxMsixTest : public ::testing::Test {
 protected:
  LinuxMsixTest() : guest_(&machine_, machine_.layout()) {}

  void Add(const DirectFunction::Options& options) {
    function_ = &machine_.AddFunction(kMsixSlot, options, nullptr);
    device_ = ProbeDevice(&guest_.config(), kMsixSlot, {});
    PciSetMaster(*device_);
    machine_.ClearTrace();
  }
  std::unique_ptr<LinuxMsix> Enable(uint16_t vectors) {
    auto msix = LinuxMsix::Enable(guest_.irq_context(), *device_, vectors);
    EXPECT_THAT(msix, IsOk());
    return *std::move(msix);
  }

  DirectMachine machine_;
  GuestMachine guest_;
  DirectFunction* function_ = nullptr;
  std::unique_ptr<LinuxPciDevice> device_;
};

TEST_F(LinuxMsixTest, EnableIsInLinuxsOrder) {
  Add(CapturedNvme());
  Enable(2);
  std::vector<std::string> expected = {
      // The number of vectors and the places of the table and the PBA.
      "cfg r2 042", "cfg r4 044", "cfg r4 048", "cfg r2 042",
      // MSI-X is enabled with Function Mask set.
      "cfg r2 042", "cfg w2 042=c040", "cfg r2 042",
      // Each of the two entries has its control read and a placeholder message
      // written and read back.
      "mmio r4 0:200c", "mmio w4 0:2000=fee00000", "mmio w4 0:2004=0",
      "mmio w4 0:2008=ef", "mmio r4 0:2008",  //
      "mmio r4 0:201c", "mmio w4 0:2010=fee00000", "mmio w4 0:2014=0",
      "mmio w4 0:2018=ef", "mmio r4 0:2018",
      // INTx is turned off.
      "cfg r2 004", "cfg w2 004=507"};
  // Every entry of the table is masked.
  for (int entry = 0; entry < 65; ++entry) {
    expected.push_back(
        absl::StrFormat("mmio w4 0:%x=1", 0x2000 + 16 * entry + 12));
  }
  expected.push_back("cfg r2 042");
  expected.push_back("cfg w2 042=8040");
  EXPECT_THAT(machine_.trace(), ElementsAreArray(expected));
  EXPECT_TRUE(device_->msix_enabled);
}

TEST_F(LinuxMsixTest, RequestRewritesTheMessageWhileMaskedAndUnmasks) {
  Add(CapturedNvme());
  const auto msix = Enable(2);
  machine_.ClearTrace();
  ASSERT_THAT(msix->Request(1, "test", [] {}), IsOk());
  EXPECT_THAT(
      machine_.trace(),
      ElementsAre("mmio w4 0:2010=fee00000", "mmio w4 0:2014=0",
                  "mmio w4 0:2018=30", "mmio r4 0:2018", "mmio w4 0:201c=0"));
  EXPECT_EQ(msix->message(1), (GuestMessage{0xfee00000, 0x30}));
}

TEST_F(LinuxMsixTest, RequestedVectorsReachTheirHandlers) {
  Add(CapturedNvme());
  const auto msix = Enable(3);
  std::vector<int> taken;
  for (uint16_t i = 0; i < 3; ++i) {
    ASSERT_THAT(msix->Request(i, "test", [&taken, i] { taken.push_back(i); }),
                IsOk());
  }
  function_->Raise(2);
  function_->Raise(0);
  EXPECT_THAT(guest_.interrupts().WaitUntil(
                  "both", [&taken] { return taken.size() == 2; }),
              IsOk());
  EXPECT_THAT(taken, ElementsAre(2, 0));
}

TEST_F(LinuxMsixTest, MaskedVectorIsPendingUntilUnmasked) {
  Add(CapturedNvme());
  const auto msix = Enable(1);
  int taken = 0;
  ASSERT_THAT(msix->Request(0, "test", [&taken] { ++taken; }), IsOk());
  msix->Mask(0);
  EXPECT_FALSE(msix->Pending(0));
  function_->Raise(0);
  EXPECT_TRUE(msix->Pending(0));
  EXPECT_FALSE(machine_.WaitForInterrupt().has_value());
  msix->Unmask(0);
  EXPECT_FALSE(msix->Pending(0));
  EXPECT_THAT(
      guest_.interrupts().WaitUntil("it", [&taken] { return taken == 1; }),
      IsOk());
}

TEST_F(LinuxMsixTest, FunctionMaskHoldsAllBack) {
  Add(CapturedNvme());
  const auto msix = Enable(1);
  ASSERT_THAT(msix->Request(0, "test", [] {}), IsOk());
  machine_.ClearTrace();
  msix->SetFunctionMask(true);
  function_->Raise(0);
  EXPECT_TRUE(msix->Pending(0));
  msix->SetFunctionMask(false);
  EXPECT_FALSE(msix->Pending(0));
  EXPECT_THAT(machine_.trace(),
              ElementsAre("cfg r2 042", "cfg w2 042=c040", "mmio r8 0:3000",
                          "cfg r2 042", "cfg w2 042=8040", "mmio r8 0:3000"));
}

TEST_F(LinuxMsixTest, FreeMasksDisablesAndGivesThePinBack) {
  Add(CapturedNvme());
  const auto msix = Enable(1);
  ASSERT_THAT(msix->Request(0, "test", [] {}), IsOk());
  machine_.ClearTrace();
  msix->Free();
  EXPECT_THAT(machine_.trace(),
              ElementsAre("mmio w4 0:200c=1", "mmio r4 0:2000",
                          "mmio w4 0:200c=1", "mmio r4 0:2000", "cfg r2 042",
                          "cfg w2 042=40", "cfg r2 004", "cfg w2 004=107"));
  EXPECT_FALSE(device_->msix_enabled);
  machine_.ClearTrace();
  msix->Free();
  EXPECT_THAT(machine_.trace(), ElementsAre());
}

TEST_F(LinuxMsixTest, TableFollowsItsBar) {
  Add(CapturedNvme());
  const auto msix = Enable(1);
  ASSERT_THAT(guest_.resources().Move(*device_, 0), IsOk());
  machine_.ClearTrace();
  ASSERT_THAT(msix->Request(0, "test", [] {}), IsOk());
  EXPECT_EQ(machine_.misses(), 0u);
  EXPECT_EQ(machine_.trace()[0], "mmio w4 0:2000=fee00000");
}

TEST_F(LinuxMsixTest, TooManyVectorsAreRefused) {
  Add(CapturedNvme());
  EXPECT_EQ(MsixVectorCount(*device_), 65);
  EXPECT_THAT(LinuxMsix::Enable(guest_.irq_context(), *device_, 66),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(LinuxMsix::Enable(guest_.irq_context(), *device_, 0),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_FALSE(device_->msix_enabled);
}

TEST_F(LinuxMsixTest, ATableOutsideOfItsBarIsRefused) {
  DirectFunction::Options options = CapturedNvme();
  options.config[0x45] = 0x3d;  // At 0x3d00, where 65 entries do not fit.
  Add(options);
  EXPECT_THAT(LinuxMsix::Enable(guest_.irq_context(), *device_, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  options.config[0x44] = 0x03;  // In BAR 3, which does not exist.
  Add(options);
  EXPECT_THAT(LinuxMsix::Enable(guest_.irq_context(), *device_, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(LinuxMsixTest, EnablingTwiceIsRefused) {
  Add(CapturedNvme());
  const auto msix = Enable(1);
  EXPECT_THAT(LinuxMsix::Enable(guest_.irq_context(), *device_, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(LinuxMsixTest, AllocationPrefersMsixAndTakesWhatThereIs) {
  Add(CapturedNvme());
  auto vectors = PciAllocIrqVectors(guest_.irq_context(), *device_, 1, 100);
  ASSERT_THAT(vectors, IsOk());
  EXPECT_EQ((*vectors)->kind(), "MSI-X");
  EXPECT_EQ((*vectors)->count(), 65);
}

TEST_F(LinuxMsixTest, AllocationFailsBelowTheMinimum) {
  Add(CapturedNvme());
  EXPECT_THAT(PciAllocIrqVectors(guest_.irq_context(), *device_, 66, 100),
              StatusIs(absl::StatusCode::kResourceExhausted));
  Add(PlainHostBridge());
  EXPECT_THAT(PciAllocIrqVectors(guest_.irq_context(), *device_, 1, 1),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace passthru::guest
