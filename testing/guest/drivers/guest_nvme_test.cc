// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_nvme.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/nvme/nvme_model.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr pci::Bdf kNvmeSlot(0, 0, 1, 0);
constexpr pci::BarIndex kBar0(0);

class GuestNvmeTest : public ::testing::Test {
 protected:
  GuestNvmeTest() : guest_(&machine_, machine_.layout()) {}

  void Add(models::nvme::NvmeModel::Options model = {},
           const DirectFunction::Options& function = CapturedNvme()) {
    model_ = models::nvme::NvmeModel::Create(std::move(model)).value();
    function_ = &machine_.AddFunction(kNvmeSlot, function, model_.get());
    device_ = ProbeDevice(&guest_.config(), kNvmeSlot, {});
    guest_.resources().Claim(*device_);
    ASSERT_THAT(guest_.resources().AssignUnclaimed(*device_), IsOk());
  }
  std::unique_ptr<GuestNvme> Start(GuestNvme::Options options = {}) {
    auto driver = GuestNvme::Start(&guest_, device_.get(), options);
    EXPECT_THAT(driver, IsOk());
    return driver.ok() ? *std::move(driver) : nullptr;
  }

  DirectMachine machine_;
  GuestMachine guest_;
  std::unique_ptr<models::nvme::NvmeModel> model_;
  DirectFunction* function_ = nullptr;
  std::unique_ptr<LinuxPciDevice> device_;
};

TEST_F(GuestNvmeTest, BringUpIdentifiesTheController) {
  Add({.blocks = 4096, .serial_number = "S1"});
  const auto driver = Start({.io_queues = 3});
  ASSERT_NE(driver, nullptr);
  const GuestNvmeReport report = driver->report();
  EXPECT_EQ(report.model, "QEMU NVMe Ctrl");
  EXPECT_EQ(report.serial, "S1");
  EXPECT_EQ(report.firmware, "1.0");
  EXPECT_EQ(report.version, 0x00010400u);
  EXPECT_EQ(report.blocks, 4096u);
  EXPECT_EQ(report.block_size, 512u);
  EXPECT_EQ(report.max_transfer_bytes, 512u * 1024);
  EXPECT_EQ(report.interrupt_kind, "MSI-X");
  EXPECT_EQ(report.interrupt_vectors, 4);
  EXPECT_EQ(report.io_queues, 3);
  EXPECT_THAT(report.interrupts, SizeIs(4));
  // Vector 0 interrupted once for each admin command, of which there are 3 to
  // identify, 1 for a feature and 2 for each queue pair.
  EXPECT_EQ(report.interrupts[0], 10u);
}

TEST_F(GuestNvmeTest, BlocksAreWrittenAndVerifiedOnAllQueues) {
  Add();
  const auto driver = Start();
  ASSERT_THAT(driver->WriteAndVerify(100, 500, /*seed=*/9), IsOk());
  const GuestNvmeReport report = driver->report();
  EXPECT_EQ(report.blocks_written, 500u);
  EXPECT_EQ(report.blocks_read, 500u);
  EXPECT_EQ(report.blocks_verified, 500u);
  EXPECT_EQ(model_->io_counters().blocks_written, 500u);
  EXPECT_EQ(model_->io_counters().blocks_read, 500u);
  EXPECT_EQ(model_->io_counters().flushes, 1u);
  EXPECT_EQ(model_->counters().failed_commands, 0u);
  // There are 21 commands each way over two queues, and a flush on the first.
  EXPECT_EQ(report.interrupts[1] + report.interrupts[2], 43u);
  EXPECT_GE(report.interrupts[2], 20u);
}

// Changes one bit of the medium whenever the driver flushes, which is between
// writing and reading back.
class RottingNvme final : public models::DeviceModel {
 public:
  explicit RottingNvme(models::nvme::NvmeModel* model) : model_(*model) {}

  std::string_view name() const override { return "rotting"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override {
    return model_.HandlesBar(bar, offset);
  }
  uint64_t ReadBar(pci::BarIndex bar, uint64_t offset,
                   unsigned width) override {
    return model_.ReadBar(bar, offset, width);
  }
  void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                uint64_t value) override {
    model_.WriteBar(bar, offset, width, value);
  }
  bool Step() override {
    model_.set_host(&host());
    const uint64_t flushes = model_.io_counters().flushes;
    const bool worked = model_.Step();
    if (model_.io_counters().flushes != flushes) {
      model_.store().Blocks(3, 1)[17] ^= 0x40;
    }
    return worked;
  }
  void Reset(models::ResetKind kind) override { model_.Reset(kind); }

 private:
  models::nvme::NvmeModel& model_;
};

TEST_F(GuestNvmeTest, ChangedDataIsFoundOut) {
  model_ = models::nvme::NvmeModel::Create({}).value();
  RottingNvme rotting(model_.get());
  machine_.AddFunction(kNvmeSlot, CapturedNvme(), &rotting);
  device_ = ProbeDevice(&guest_.config(), kNvmeSlot, {});
  const auto driver = Start();
  ASSERT_NE(driver, nullptr);
  EXPECT_THAT(
      driver->WriteAndVerify(0, 50, 1),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("block 3 reads back")));
  EXPECT_EQ(driver->report().blocks_wrong, 1u);
  EXPECT_EQ(driver->report().blocks_verified, 49u);
}

TEST_F(GuestNvmeTest, CommandSizesFromOneBlockToALongList) {
  for (uint16_t blocks : {1, 7, 8, 9, 16, 17, 1024}) {
    Add();
    const auto driver = Start({.io_queues = 1, .blocks_per_command = blocks});
    ASSERT_NE(driver, nullptr) << blocks;
    EXPECT_THAT(driver->WriteAndVerify(0, 1100, blocks), IsOk()) << blocks;
    EXPECT_THAT(driver->Shutdown(), IsOk());
  }
}

TEST_F(GuestNvmeTest, RingsWrapManyTimes) {
  Add();
  const auto driver =
      Start({.io_queues = 1, .queue_entries = 2, .blocks_per_command = 8});
  EXPECT_THAT(driver->WriteAndVerify(0, 400, 5), IsOk());
  EXPECT_EQ(driver->report().blocks_verified, 400u);
}

TEST_F(GuestNvmeTest, WorksOnAfterItsBarMoved) {
  Add();
  const auto driver = Start();
  const uint64_t before = device_->FindBar(0)->address;
  ASSERT_THAT(driver->WriteAndVerify(0, 50, 1), IsOk());
  ASSERT_THAT(guest_.resources().Move(*device_, 0), IsOk());
  EXPECT_NE(device_->FindBar(0)->address, before);
  EXPECT_THAT(driver->WriteAndVerify(0, 50, 2), IsOk());
  EXPECT_THAT(driver->Shutdown(), IsOk());
  EXPECT_EQ(machine_.misses(), 0u);
}

TEST_F(GuestNvmeTest, ShutdownLeavesTheControllerQuiet) {
  Add();
  const auto driver = Start();
  ASSERT_THAT(driver->Shutdown(), IsOk());
  EXPECT_EQ(function_->ConfigRead(0x42, 2), 0x0040u);
  EXPECT_EQ(function_->ConfigRead(0x04, 2), 0x0103u);
  EXPECT_EQ(model_->ReadBar(kBar0, 0x14, 4) & 1, 0u);
  EXPECT_EQ(model_->ReadBar(kBar0, 0x1c, 4), 0u);
  EXPECT_THAT(driver->Shutdown(), IsOk());
  EXPECT_THAT(driver->WriteAndVerify(0, 1, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(GuestNvmeTest, StartsAgainAfterShutdown) {
  Add();
  ASSERT_THAT(Start()->Shutdown(), IsOk());
  const auto again = Start();
  ASSERT_NE(again, nullptr);
  EXPECT_THAT(again->WriteAndVerify(0, 10, 3), IsOk());
}

TEST_F(GuestNvmeTest, FewerQueuesAreMadeDoWith) {
  Add({.max_io_queues = 1});
  EXPECT_EQ(Start({.io_queues = 8})->report().io_queues, 1);
}

TEST_F(GuestNvmeTest, FewerVectorsMeanFewerQueues) {
  DirectFunction::Options function = CapturedNvme();
  function.config[0x42] = 0x02;  // Three vectors.
  Add({.vectors = 3}, function);
  const auto driver = Start({.io_queues = 8});
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(driver->report().io_queues, 2);
  EXPECT_EQ(driver->report().interrupt_vectors, 3);
}

TEST_F(GuestNvmeTest, OneVectorIsShared) {
  DirectFunction::Options function = CapturedNvme();
  function.config[0x42] = 0x00;
  Add({.vectors = 1}, function);
  const auto driver = Start();
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(driver->report().io_queues, 1);
  EXPECT_THAT(driver->WriteAndVerify(0, 100, 1), IsOk());
  EXPECT_THAT(driver->report().interrupts, SizeIs(1));
}

TEST_F(GuestNvmeTest, BlocksOutsideOfTheNamespaceAreRefused) {
  Add({.blocks = 64});
  const auto driver = Start();
  EXPECT_THAT(driver->WriteAndVerify(60, 5, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(driver->WriteAndVerify(~uint64_t{0}, 2, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(driver->WriteAndVerify(0, 0, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(GuestNvmeTest, RefusedDmaEndsInAnErrorNotInAHang) {
  Add();
  const auto driver = Start();
  // With bus mastering off the controller cannot fetch, stops and stays silent.
  function_->ConfigWrite(0x04, 2, 0x0103);
  EXPECT_THAT(driver->WriteAndVerify(0, 8, 1),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(model_->ReadBar(kBar0, 0x1c, 4) & 2, 2u);
  EXPECT_FALSE(driver->Shutdown().ok());
  EXPECT_FALSE(device_->msix_enabled);
}

TEST_F(GuestNvmeTest, MissingInterruptsAreNamed) {
  Add();
  const auto driver = Start();
  // Sets the function mask without the driver's knowledge.
  function_->ConfigWrite(0x42, 2, 0xc040);
  EXPECT_THAT(driver->WriteAndVerify(0, 8, 1),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("no interrupt came")));
  EXPECT_EQ(model_->io_counters().blocks_written, 8u);
}

TEST_F(GuestNvmeTest, ADeviceThatDoesNotAnswerIsUnavailable) {
  Add();
  guest_.config().Write(kNvmeSlot, 0x10, 4,
                        0xd0000000);  // The driver believes it elsewhere.
  EXPECT_THAT(
      GuestNvme::Start(&guest_, device_.get(), {}),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("does not answer")));
}

TEST_F(GuestNvmeTest, ADeviceThatIsNoControllerIsNotReady) {
  DirectFunction& function =
      machine_.AddFunction(kNvmeSlot, CapturedNvme(), nullptr);
  device_ = ProbeDevice(&guest_.config(), kNvmeSlot, {});
  EXPECT_THAT(GuestNvme::Start(&guest_, device_.get(), {.status_looks = 100}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not ready")));
  EXPECT_FALSE(device_->msix_enabled);
  EXPECT_EQ(function.ConfigRead(0x04, 2), 0x0103u);
}

TEST_F(GuestNvmeTest, AFailedStartLeavesNoHandlersBehind) {
  Add();
  // The memory is enough for the admin queue, but not for the I/O queues.
  const GuestLayout layout = {.dma_memory = {DirectMachine::kRamBase, 0x4000},
                              .ecam = machine_.layout().ecam};
  GuestMachine small(&machine_, layout);
  EXPECT_THAT(GuestNvme::Start(&small, device_.get(), {}),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_FALSE(device_->msix_enabled);
  machine_.Inject(small.interrupts().lines().back().message);
  EXPECT_THAT(small.interrupts().WaitUntil("it", [] { return true; }), IsOk());
  EXPECT_THAT(small.interrupts().unexpected(), SizeIs(1));
}

TEST_F(GuestNvmeTest, ReadOnlyDriverReadsAndRefusesToWrite) {
  Add();
  const auto driver = Start({.read_only = true});
  EXPECT_THAT(driver->WriteAndVerify(0, 1, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(driver->Read(0, 100), IsOk());
  EXPECT_THAT(driver->Read(2000, 100), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(model_->io_counters().blocks_read, 100u);
  EXPECT_EQ(model_->io_counters().blocks_written, 0u);
}

TEST_F(GuestNvmeTest, OptionsAreChecked) {
  Add();
  EXPECT_FALSE(GuestNvme::Start(&guest_, device_.get(), {.io_queues = 0}).ok());
  EXPECT_FALSE(
      GuestNvme::Start(&guest_, device_.get(), {.queue_entries = 1}).ok());
  EXPECT_FALSE(
      GuestNvme::Start(&guest_, device_.get(), {.blocks_per_command = 0}).ok());
}

TEST_F(GuestNvmeTest, AFunctionWithoutTheBarIsNotFound) {
  machine_.AddFunction(kNvmeSlot, PlainHostBridge(), nullptr);
  device_ = ProbeDevice(&guest_.config(), kNvmeSlot, {});
  EXPECT_THAT(GuestNvme::Start(&guest_, device_.get(), {}),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace passthru::guest
