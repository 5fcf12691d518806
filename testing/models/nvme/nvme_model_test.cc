// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_model.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/flat_memory.h"
#include "passthru/testing/models/nvme/nvme_model_test_base.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Tests registers, controller state, queues and interrupts. The tests of
// commands are in nvme_commands_test.cc.
class NvmeModelTest : public NvmeModelTestBase {};

TEST_F(NvmeModelTest, CreateNamesTheOptionThatIsWrong) {
  EXPECT_THAT(
      NvmeModel::Create({.blocks = 0}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("blocks is 0")));
  EXPECT_THAT(
      NvmeModel::Create({.max_io_queues = 0}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_io_queues")));
  EXPECT_THAT(
      NvmeModel::Create({.max_io_queues = 512}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_io_queues")));
  EXPECT_THAT(
      NvmeModel::Create({.vectors = 0}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("vectors")));
  EXPECT_THAT(NvmeModel::Create({.max_transfer_shift = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_transfer_shift")));
  EXPECT_THAT(
      NvmeModel::Create({.serial_number = std::string(21, 'x')}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("serial_number")));
}

TEST_F(NvmeModelTest, RegistersEndWhereTheMsixTableBegins) {
  EXPECT_TRUE(nvme_->HandlesBar(kBar0, 0));
  EXPECT_TRUE(nvme_->HandlesBar(kBar0, 0x1fff));
  EXPECT_FALSE(nvme_->HandlesBar(kBar0, 0x2000));
  EXPECT_FALSE(nvme_->HandlesBar(pci::BarIndex(2), 0));
}

TEST_F(NvmeModelTest, ReadsAsCapturedAfterReset) {
  EXPECT_EQ(Read(0x00, 8), 0x004018200f0107ffu);
  EXPECT_EQ(Read(0x00), 0x0f0107ffu);
  EXPECT_EQ(Read(0x04), 0x00401820u);
  EXPECT_EQ(Read(0x08), 0x00010400u);
  for (uint64_t offset : {0x0c, 0x10, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x30}) {
    EXPECT_EQ(Read(offset), 0u) << offset;
  }
}

TEST_F(NvmeModelTest, ReadsOfAnyWidthGetTheirBytes) {
  EXPECT_EQ(Read(0x00, 1), 0xffu);
  EXPECT_EQ(Read(0x01, 1), 0x07u);
  EXPECT_EQ(Read(0x02, 2), 0x0f01u);
  EXPECT_EQ(Read(0x02, 4), 0x18200f01u);
  EXPECT_EQ(Read(0x1ffc, 8), 0xffffffff00000000u);
}

TEST_F(NvmeModelTest, WritesAreWholeAlignedDwords) {
  Write(0x28, 0x1122334455667788, 8);
  EXPECT_EQ(Read(0x28, 8), 0x1122334455667000u);
  Write(0x2c, 0xaabbccdd);
  EXPECT_EQ(Read(0x28, 8), 0xaabbccdd55667000u);
  Write(0x28, 0, 1);
  Write(0x28, 0, 2);
  Write(0x2a, 0, 4);
  EXPECT_EQ(Read(0x28, 8), 0xaabbccdd55667000u);
}

TEST_F(NvmeModelTest, ReadyComesAfterALook) {
  ProgramAdminQueues();
  Write(0x14, kEnable);
  EXPECT_EQ(Read(0x1c), 0u);
  EXPECT_EQ(Read(0x1c), 1u);
  Write(0x14, 0);
  EXPECT_EQ(Read(0x1c), 1u);
  EXPECT_EQ(Read(0x1c), 0u);
}

TEST_F(NvmeModelTest, ReadyComesAfterAStep) {
  ProgramAdminQueues();
  Write(0x14, kEnable);
  EXPECT_TRUE(nvme_->Step());
  EXPECT_EQ(Read(0x1c), 1u);
  EXPECT_FALSE(nvme_->Step());
}

struct BadConfiguration {
  const char* name;
  uint32_t cc = NvmeModelTestBase::kEnable;
  uint32_t aqa = 0x000f000f;
  uint64_t asq = 0x100000;
  uint64_t acq = 0x101000;
};

class NvmeModelBadConfigurationTest
    : public NvmeModelTestBase,
      public ::testing::WithParamInterface<BadConfiguration> {};

TEST_P(NvmeModelBadConfigurationTest, EnablingIsFatalUntilReset) {
  Write(0x24, GetParam().aqa);
  Write(0x28, GetParam().asq, 8);
  Write(0x30, GetParam().acq, 8);
  Write(0x14, GetParam().cc);
  EXPECT_EQ(Read(0x1c), 2u);
  EXPECT_FALSE(nvme_->Step());
  Write(0x14, 0);
  nvme_->Step();
  EXPECT_EQ(Read(0x1c), 0u);
  Enable();
  EXPECT_EQ(Read(0x1c), 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Configurations, NvmeModelBadConfigurationTest,
    ::testing::Values(
        BadConfiguration{.name = "CommandSet", .cc = 0x00460011},
        BadConfiguration{.name = "PageSize", .cc = 0x00460281},
        BadConfiguration{.name = "SubmissionEntrySize", .cc = 0x00450001},
        BadConfiguration{.name = "CompletionEntrySize", .cc = 0x00360001},
        BadConfiguration{.name = "NoSubmissionEntries", .aqa = 0x000f0000},
        BadConfiguration{.name = "NoCompletionEntries", .aqa = 0x0000000f},
        BadConfiguration{.name = "NoSubmissionQueue", .asq = 0},
        BadConfiguration{.name = "NoCompletionQueue", .acq = 0},
        BadConfiguration{.name = "SubmissionQueueUnaligned",
                         .cc = 0x00460081,
                         .asq = 0x101000,
                         .acq = 0x102000},
        BadConfiguration{.name = "CompletionQueueUnaligned",
                         .cc = 0x00460081,
                         .asq = 0x100000,
                         .acq = 0x101000}),
    [](const auto& param) { return param.param.name; });

TEST_F(NvmeModelTest, ShutdownCompletesAndStopsTheQueues) {
  Enable();
  Write(0x14, kEnable | 1u << 14);
  EXPECT_EQ(Read(0x1c), 0x5u);
  EXPECT_EQ(Read(0x1c), 0x9u);
  SubmitAdmin(Command());
  EXPECT_FALSE(nvme_->Step());
  Write(0x14, 0);
  nvme_->Step();
  EXPECT_EQ(Read(0x1c), 0u);
}

TEST_F(NvmeModelTest, DisablingKeepsTheAdminQueueRegisters) {
  Enable();
  Write(0x0c, 1);
  Write(0x14, 0);
  nvme_->Step();
  EXPECT_EQ(Read(0x24), 0x000f000fu);
  EXPECT_EQ(Read(0x28, 8), kAdminSq);
  EXPECT_EQ(Read(0x30, 8), kAdminCq);
  EXPECT_EQ(Read(0x0c), 0u);
}

TEST_F(NvmeModelTest, FunctionResetClearsAllButTheMedium) {
  Enable();
  nvme_->store().Blocks(3, 1)[0] = 0xab;
  Write(0x0c, 0xff);
  SubmitAdmin(Command());
  nvme_->Reset(ResetKind::kFunctionLevel);
  for (uint64_t offset : {0x0c, 0x14, 0x1c, 0x24, 0x28, 0x2c, 0x30, 0x34}) {
    EXPECT_EQ(Read(offset), 0u) << offset;
  }
  EXPECT_FALSE(nvme_->Step());
  EXPECT_EQ(nvme_->store().Blocks(3, 1)[0], 0xab);
}

TEST_F(NvmeModelTest, CommandsAreTakenInOrderWithPhase) {
  Enable();
  // Twice around both rings of 16.
  for (uint16_t i = 0; i < 32; ++i) {
    Command command;
    command.set_raw_opcode(0x7f);
    command.set_command_id(i);
    const Completion completion = RunAdmin(command);
    EXPECT_EQ(completion.command_id, i);
    EXPECT_EQ(completion.submission_queue, 0);
    EXPECT_EQ(completion.submission_head, (i + 1) % 16);
    EXPECT_EQ(completion.status, kInvalidOpcode.Dnr());
  }
  EXPECT_EQ(nvme_->counters().admin_commands, 32u);
  EXPECT_EQ(nvme_->counters().failed_commands, 32u);
}

TEST_F(NvmeModelTest, FullCompletionQueueHoldsCommandsBack) {
  Enable();
  for (int i = 0; i < 15; ++i) SubmitAdmin(Command());
  while (nvme_->Step()) {
  }
  EXPECT_EQ(nvme_->counters().completions, 15u);
  SubmitAdmin(Command());
  EXPECT_FALSE(nvme_->Step());
  Write(0x1004, 1);  // One completion consumed.
  EXPECT_TRUE(nvme_->Step());
  EXPECT_EQ(nvme_->counters().completions, 16u);
}

TEST_F(NvmeModelTest, InvalidDoorbellsAreIgnored) {
  Enable();
  Write(0x1000, 16);      // Behind the ring.
  Write(0x1004, 1);       // No completion was posted.
  Write(0x1008, 1);       // No such submission queue.
  Write(0x100c, 1);       // No such completion queue.
  Write(0x1ffc, 0xffff);  // The last register.
  EXPECT_EQ(nvme_->counters().invalid_doorbells, 5u);
  EXPECT_FALSE(nvme_->Step());
  EXPECT_EQ(Read(0x1c), 1u);
  EXPECT_EQ(Read(0x1000), 0u);
}

TEST_F(NvmeModelTest, DoorbellBeforeEnableIsIgnored) {
  Write(0x1000, 1);
  EXPECT_EQ(nvme_->counters().invalid_doorbells, 1u);
  EXPECT_FALSE(nvme_->Step());
}

TEST_F(NvmeModelTest, RefusedFetchIsFatal) {
  Enable();
  SubmitAdmin(Command());
  host_.set_bus_master(false);
  EXPECT_TRUE(nvme_->Step());
  EXPECT_EQ(Read(0x1c), 3u);
  host_.set_bus_master(true);
  EXPECT_FALSE(nvme_->Step());
  EXPECT_EQ(nvme_->counters().completions, 0u);
}

TEST_F(NvmeModelTest, RefusedCompletionIsFatalAndSilent) {
  host_.SetInterruptMode(InterruptMode::kMsix);
  Enable();
  SubmitAdmin(Command());
  host_.SetReadOnly(kAdminCq, 0x1000);
  EXPECT_TRUE(nvme_->Step());
  EXPECT_EQ(Read(0x1c), 3u);
  EXPECT_THAT(host_.msix(), IsEmpty());
}

TEST_F(NvmeModelTest, FatalControllerRecoversByReset) {
  Enable();
  SubmitAdmin(Command());
  host_.FailDmaAfter(0);
  nvme_->Step();
  EXPECT_EQ(Read(0x1c), 3u);
  host_.FailDmaAfter(-1);
  Write(0x14, 0);
  nvme_->Step();
  EXPECT_EQ(Read(0x1c), 0u);
  Enable();
  Command identify;
  identify.set_opcode(AdminOpcode::kIdentify);
  identify.set_prp1(kData);
  identify.set_dword(10, 1);
  EXPECT_TRUE(RunAdmin(identify).status.ok());
}

TEST_F(NvmeModelTest, EachCompletionRaisesItsVector) {
  host_.SetInterruptMode(InterruptMode::kMsix);
  Enable();
  CreateIoQueues(/*id=*/1, /*vector=*/64);
  EXPECT_THAT(host_.msix(), ElementsAre(0, 0));
  RunIo(1, Command());
  EXPECT_THAT(host_.msix(), ElementsAre(0, 0, 64));
  EXPECT_FALSE(host_.intx());
}

TEST_F(NvmeModelTest, QueueWithoutInterruptsIsSilent) {
  host_.SetInterruptMode(InterruptMode::kMsix);
  Enable();
  CreateIoQueues(/*id=*/1, /*vector=*/1, /*interrupts=*/false);
  RunIo(1, Command());
  EXPECT_THAT(host_.msix(), ElementsAre(0, 0));
}

TEST_F(NvmeModelTest, MsiIsUsedWhereItIsEnabled) {
  host_.SetInterruptMode(InterruptMode::kMsi);
  Enable();
  CreateIoQueues(/*id=*/1, /*vector=*/3);
  RunIo(1, Command());
  EXPECT_THAT(host_.msi(), ElementsAre(0, 0, 3));
  EXPECT_THAT(host_.msix(), IsEmpty());
}

TEST_F(NvmeModelTest, PinIsAssertedUntilTheCompletionIsConsumed) {
  Enable();
  SubmitAdmin(Command());
  nvme_->Step();
  EXPECT_TRUE(host_.intx());
  Write(0x1004, 1);
  EXPECT_FALSE(host_.intx());
}

TEST_F(NvmeModelTest, InterruptMaskGatesThePin) {
  Enable();
  Write(0x0c, 1);
  EXPECT_EQ(Read(0x10), 1u);
  SubmitAdmin(Command());
  nvme_->Step();
  EXPECT_FALSE(host_.intx());
  Write(0x10, 1);
  EXPECT_TRUE(host_.intx());
  Write(0x0c, 1);
  EXPECT_FALSE(host_.intx());
}

TEST_F(NvmeModelTest, DisablingDeassertsThePin) {
  Enable();
  SubmitAdmin(Command());
  nvme_->Step();
  ASSERT_TRUE(host_.intx());
  Write(0x14, 0);
  EXPECT_FALSE(host_.intx());
}

TEST_F(NvmeModelTest, SeveralQueuesAreServedInTurn) {
  host_.SetInterruptMode(InterruptMode::kMsix);
  Enable();
  CreateIoQueues(1, 1);
  CreateIoQueues(2, 2);
  for (int i = 0; i < 3; ++i) {
    SubmitIo(1, Command());
    SubmitIo(2, Command());
  }
  while (nvme_->Step()) {
  }
  EXPECT_THAT(host_.msix(), ElementsAre(0, 0, 0, 0, 1, 2, 1, 2, 1, 2));
}

// Whatever a guest writes anywhere, in whatever state, every step ends and the
// controller works again after a reset.
TEST_F(NvmeModelTest, SurvivesAnyGuest) {
  std::mt19937_64 random(7);
  host_.SetInterruptMode(InterruptMode::kMsix);
  for (int round = 0; round < 50; ++round) {
    Enable();
    CreateIoQueues(1, 1);
    for (int i = 0; i < 200; ++i) {
      const uint64_t queue = kAdminSq + random() % 0x4000;
      host_.Bytes(queue, 1)[0] = static_cast<uint8_t>(random());
      const bool doorbell = random() % 2 == 0;
      const uint64_t offset =
          doorbell ? 0x1000 + 4 * (random() % 6) : random() % 0x40;
      // Writes to the configuration are rare, because they would end the round.
      if (offset / 4 == 0x14 / 4 && random() % 16 != 0) continue;
      const unsigned width = 1u << (random() % 4);
      Write(offset, doorbell ? random() % 20 : random(), width);
      nvme_->Step();
      nvme_->ReadBar(kBar0, random() % 0x2000, width);
    }
    nvme_->Reset(ResetKind::kFunctionLevel);
  }
  Enable();
  EXPECT_EQ(Read(0x1c), 1u);
}

}  // namespace
}  // namespace passthru::models::nvme
