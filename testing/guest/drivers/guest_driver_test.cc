// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_driver.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_function.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/models/edu_model.h"
#include "passthru/testing/models/nvme/nvme_model.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GuestDriverTest : public ::testing::Test {
 protected:
  GuestDriverTest() : nvme_(models::nvme::NvmeModel::Create({}).value()) {
    options_.layout = machine_.layout();
  }

  DirectMachine machine_;
  std::unique_ptr<models::nvme::NvmeModel> nvme_;
  models::EduModel edu_;
  GuestOptions options_;
  GuestReport report_;
};

TEST_F(GuestDriverTest, EachFunctionGetsItsDriver) {
  machine_.AddFunction(pci::Bdf(0, 0, 0, 0), PlainHostBridge(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedNvme(), nvme_.get());
  machine_.AddFunction(pci::Bdf(0, 0, 2, 0), CapturedEdu(), &edu_);
  machine_.AddFunction(pci::Bdf(0, 0, 31, 0), MixedFunction(false), nullptr);
  EXPECT_THAT(RunGuest(machine_, options_, report_), IsOk());
  ASSERT_THAT(report_.devices, SizeIs(4));
  EXPECT_EQ(report_.devices[0].driver, "none");
  EXPECT_EQ(report_.devices[1].driver, "nvme");
  EXPECT_EQ(report_.devices[2].driver, "edu");
  EXPECT_EQ(report_.devices[3].driver, "generic");
  EXPECT_THAT(report_.unexpected_interrupts, IsEmpty());

  const GuestNvmeReport& nvme = *report_.devices[1].nvme;
  EXPECT_EQ(nvme.blocks_written, 512u);
  EXPECT_EQ(nvme.blocks_verified, 512u);
  EXPECT_EQ(nvme.blocks_wrong, 0u);
  EXPECT_THAT(nvme.interrupts, Each(Gt(0u)));
  const GuestEduReport& edu = *report_.devices[2].edu;
  EXPECT_EQ(edu.factorial, 479001600u);
  EXPECT_EQ(edu.bytes_verified, 8192u);
  EXPECT_EQ(edu.interrupts, 6u);
  EXPECT_EQ(report_.devices[3].interrupt_kind, "MSI");
  EXPECT_EQ(report_.devices[3].interrupt_vectors, 4u);
  EXPECT_EQ(machine_.misses(), 0u);
}

TEST_F(GuestDriverTest, BarsMoveAndTheReportSaysWhere) {
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedNvme(), nvme_.get());
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  const GuestDeviceReport& device = report_.devices[0];
  ASSERT_THAT(device.moves, SizeIs(1));
  EXPECT_NE(device.moves[0].from, device.moves[0].to);
  EXPECT_EQ(device.moves[0].to, device.pci.bars[0].address);
}

TEST_F(GuestDriverTest, BarsStayWhenNotAskedToMove) {
  options_.move_bars = false;
  machine_.AddFunction(pci::Bdf(0, 0, 2, 0), CapturedEdu(), &edu_);
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_THAT(report_.devices[0].moves, IsEmpty());
}

TEST_F(GuestDriverTest, PhasesAreAnnouncedInOrder) {
  std::vector<std::string_view> phases;
  options_.on_phase = [&phases](GuestPhase phase) {
    phases.push_back(Name(phase));
  };
  machine_.AddFunction(pci::Bdf(0, 0, 0, 0), PlainHostBridge(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedNvme(), nvme_.get());
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_THAT(phases, ElementsAre("enumerate", "bring up", "work", "move BARs",
                                  "work again", "shut down"));
}

TEST_F(GuestDriverTest, ReadOnlyLeavesTheMediumAlone) {
  options_.nvme.read_only = true;
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedNvme(), nvme_.get());
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_EQ(report_.devices[0].nvme->blocks_read, 512u);
  EXPECT_EQ(nvme_->io_counters().blocks_read, 512u);
  EXPECT_EQ(nvme_->io_counters().blocks_written, 0u);
}

TEST_F(GuestDriverTest, OneFailureDoesNotStopTheOthers) {
  // An edu whose registers do not answer like an edu's.
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedEdu(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 2, 0), CapturedNvme(), nvme_.get());
  EXPECT_THAT(RunGuest(machine_, options_, report_),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(report_.devices[0].status.ok());
  EXPECT_THAT(report_.devices[1].status, IsOk());
  EXPECT_EQ(report_.devices[1].nvme->blocks_verified, 512u);
}

// A controller without behaviour is used as any other function, and the report
// says why.
TEST_F(GuestDriverTest, UndrivenFunctionGetsTheGenericDriver) {
  const pci::Bdf nvme(0, 0, 1, 0);
  options_.undriven[nvme] = "it is plain memory";
  machine_.AddFunction(nvme, CapturedNvme(), nullptr);
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_EQ(report_.devices[0].driver, "generic");
  EXPECT_EQ(report_.devices[0].why_generic, "it is plain memory");
  EXPECT_EQ(report_.devices[0].interrupt_kind, "MSI-X");
  EXPECT_THAT(report_.devices[0].moves, SizeIs(1));
}

TEST_F(GuestDriverTest, NvmeWithoutMessagesGetsTheGenericDriver) {
  DirectFunction::Options nvme = CapturedNvme();
  nvme.config[0x06] = 0;  // STATUS without a list of capabilities.
  nvme.config[0x34] = 0;
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), nvme, nvme_.get());
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_EQ(report_.devices[0].driver, "generic");
  EXPECT_THAT(report_.devices[0].why_generic, HasSubstr("message interrupts"));
  EXPECT_EQ(report_.devices[0].interrupt_vectors, 0);
}

TEST_F(GuestDriverTest, NothingIsFoundOnceTheMachineStops) {
  machine_.AddFunction(pci::Bdf(0, 0, 1, 0), CapturedNvme(), nvme_.get());
  machine_.set_stopping(true);
  EXPECT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_THAT(report_.devices, IsEmpty());
}

TEST_F(GuestDriverTest, StrayInterruptsAreReported) {
  machine_.AddFunction(pci::Bdf(0, 0, 2, 0), CapturedEdu(), &edu_);
  machine_.Inject({0xfee00000, 0x77});
  ASSERT_THAT(RunGuest(machine_, options_, report_), IsOk());
  EXPECT_THAT(report_.unexpected_interrupts,
              ElementsAre(GuestInterrupt{0xfee00000, 0x77}));
}

}  // namespace
}  // namespace passthru::guest
