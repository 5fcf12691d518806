// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/flat_memory.h"
#include "passthru/testing/models/nvme/nvme_model.h"
#include "passthru/testing/models/nvme/nvme_model_test_base.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

using ::testing::Each;

Command Admin(uint8_t opcode, uint32_t dword10 = 0, uint32_t dword11 = 0) {
  Command command;
  command.set_raw_opcode(opcode);
  command.set_dword(10, dword10);
  command.set_dword(11, dword11);
  return command;
}

class NvmeAdminCommandTest : public NvmeModelTestBase {
 protected:
  NvmeAdminCommandTest() {
    host_.SetInterruptMode(InterruptMode::kMsix);
    Enable();
  }

  Completion Identify(uint32_t cns, uint32_t nsid = 0) {
    Command command = Admin(0x06, cns);
    command.set_namespace_id(nsid);
    command.set_prp1(kData);
    return RunAdmin(command);
  }
  std::string Text(uint64_t offset, uint64_t size) {
    const absl::Span<const uint8_t> bytes = host_.Bytes(kData + offset, size);
    return std::string(bytes.begin(), bytes.end());
  }
};

TEST_F(NvmeAdminCommandTest, IdentifyController) {
  ASSERT_TRUE(Identify(1).status.ok());
  EXPECT_EQ(host_.Load<uint16_t>(kData), 0x1b36);
  EXPECT_EQ(host_.Load<uint16_t>(kData + 2), 0x1af4);
  EXPECT_EQ(Text(4, 20), "PASSTHRU0001        ");
  EXPECT_EQ(Text(24, 40), "QEMU NVMe Ctrl                          ");
  EXPECT_EQ(Text(64, 8), "1.0     ");
  EXPECT_EQ(host_.Bytes(kData + 77, 1)[0], 7);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 80), 0x00010400u);
  EXPECT_EQ(host_.Bytes(kData + 512, 1)[0], 0x66);
  EXPECT_EQ(host_.Bytes(kData + 513, 1)[0], 0x44);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 516), 1u);
  EXPECT_EQ(host_.Load<uint16_t>(kData + 520), 0x000c);
  EXPECT_EQ(host_.Bytes(kData + 261, 1)[0], 7);
  EXPECT_EQ(Text(768, 34),
            std::string("nqn.2019-08.org.qemu:PASSTHRU0001\0", 34));
}

TEST_F(NvmeAdminCommandTest, IdentifyNamespace) {
  ASSERT_TRUE(Identify(0, 1).status.ok());
  EXPECT_EQ(host_.Load<uint64_t>(kData), 2048u);
  EXPECT_EQ(host_.Load<uint64_t>(kData + 8), 2048u);
  EXPECT_EQ(host_.Bytes(kData + 26, 1)[0], 0);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 128), 0x00090000u);
}

TEST_F(NvmeAdminCommandTest, IdentifyActiveNamespaces) {
  ASSERT_TRUE(Identify(2, 0).status.ok());
  EXPECT_EQ(host_.Load<uint32_t>(kData), 1u);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 4), 0u);
  ASSERT_TRUE(Identify(2, 1).status.ok());
  EXPECT_EQ(host_.Load<uint32_t>(kData), 0u);
}

TEST_F(NvmeAdminCommandTest, IdentifyNamespaceDescriptors) {
  ASSERT_TRUE(Identify(3, 1).status.ok());
  EXPECT_EQ(host_.Load<uint16_t>(kData), 0x0801);
  // The command set, without which Linux makes no disk.
  EXPECT_EQ(host_.Load<uint32_t>(kData + 12), 0x00000104u);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 16), 0u);
  EXPECT_EQ(host_.Load<uint32_t>(kData + 20), 0u);
}

TEST_F(NvmeAdminCommandTest, IdentifyByCommandSet) {
  EXPECT_TRUE(Identify(5, 1).status.ok());
  EXPECT_TRUE(Identify(6).status.ok());
  EXPECT_TRUE(Identify(7).status.ok());
  EXPECT_EQ(host_.Load<uint32_t>(kData), 1u);
  EXPECT_TRUE(Identify(0x1c).status.ok());
  EXPECT_EQ(host_.Load<uint64_t>(kData), 1u);
  Command other = Admin(0x06, 6, uint32_t{2} << 24);
  other.set_prp1(kData);
  EXPECT_EQ(RunAdmin(other).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, IdentifyOfAbsentNamespaceFails) {
  EXPECT_EQ(Identify(0, 0).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(Identify(0, 2).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(Identify(0, 0xffffffff).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(Identify(2, 0xfffffffe).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(Identify(3, 2).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(Identify(5, 2).status, kInvalidNamespace.Dnr());
}

TEST_F(NvmeAdminCommandTest, IdentifyOfUnknownStructureFails) {
  EXPECT_EQ(Identify(0x10).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, IdentifyAcrossAPageUsesBothEntries) {
  Command command = Admin(0x06, 1);
  command.set_prp1(kData + 0xf00);
  command.set_prp2(kData + 0x4000);
  ASSERT_TRUE(RunAdmin(command).status.ok());
  EXPECT_EQ(host_.Load<uint16_t>(kData + 0xf00), 0x1b36);
  EXPECT_EQ(host_.Bytes(kData + 0x4000 + 0x100, 1)[0], 0x66);
}

TEST_F(NvmeAdminCommandTest, RefusedDataFailsTheCommandOnly) {
  Command command = Admin(0x06, 1);
  command.set_prp1(kNowhere);
  EXPECT_EQ(RunAdmin(command).status, kDataTransferError);
  EXPECT_EQ(Read(0x1c), 1u);
  EXPECT_TRUE(Identify(1).status.ok());
}

TEST_F(NvmeAdminCommandTest, ScatterGatherListsAreNotSupported) {
  Command command = Admin(0x06, 1);
  command.set_flags(0x40);
  EXPECT_EQ(RunAdmin(command).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, UnknownOpcodesFail) {
  for (int opcode : {0x03, 0x07, 0x0d, 0x10, 0x14, 0x18, 0x80, 0xc0, 0xff}) {
    EXPECT_EQ(RunAdmin(Admin(static_cast<uint8_t>(opcode))).status,
              kInvalidOpcode.Dnr())
        << opcode;
  }
}

TEST_F(NvmeAdminCommandTest, NumberOfQueuesAnswersWhatThereIs) {
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x07, 0x00000000)).result, 0x003f003fu);
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x07)).result, 0x003f003fu);
}

TEST_F(NvmeAdminCommandTest, NumberOfQueuesRefusesAllOnes) {
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x07, 0x0000ffff)).status,
            kInvalidField.Dnr());
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x07, 0xffff0000)).status,
            kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, NumberOfQueuesIsSetBeforeQueuesExist) {
  CreateIoQueues(1, 1);
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x07, 0)).status, kCommandSequenceError.Dnr());
}

TEST_F(NvmeAdminCommandTest, FeaturesReadBackUntilReset) {
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x06)).result, 1u);
  EXPECT_TRUE(RunAdmin(Admin(0x09, 0x06, 0)).status.ok());
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x06)).result, 0u);
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x106)).result, 1u);  // Default.
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x306)).result, 4u);  // Changeable.
  Write(0x14, 0);
  nvme_->Step();
  Enable();
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x06)).result, 1u);
}

TEST_F(NvmeAdminCommandTest, UnknownFeaturesFail) {
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x7f)).status, kInvalidField.Dnr());
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x7f)).status, kInvalidField.Dnr());
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x406)).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, FeaturesCannotBeSaved) {
  EXPECT_EQ(RunAdmin(Admin(0x09, 0x80000006)).status,
            kFeatureNotSaveable.Dnr());
}

TEST_F(NvmeAdminCommandTest, LogPagesAreReturnedAsFarAsTheyGo) {
  std::ranges::fill(host_.Bytes(kData, 0x1000), uint8_t{0xee});
  Command smart = Admin(0x02, 0xffff0002, 0xffff);  // 16 GiB of it.
  smart.set_prp1(kData);
  ASSERT_TRUE(RunAdmin(smart).status.ok());
  EXPECT_EQ(host_.Load<uint16_t>(kData + 1), 323);
  EXPECT_THAT(host_.Bytes(kData + 512, 512), Each(0xee));
  Command part = Admin(0x02, 0x00000003);  // One dword.
  part.set_prp1(kData);
  part.set_qword(12, 8);
  ASSERT_TRUE(RunAdmin(part).status.ok());
  EXPECT_EQ(host_.Load<uint32_t>(kData), 0x00302e31u);  // "1.0"
}

TEST_F(NvmeAdminCommandTest, CommandEffectsNameTheCommands) {
  Command log = Admin(0x02, 0x03ff0005);
  log.set_prp1(kData);
  ASSERT_TRUE(RunAdmin(log).status.ok());
  const auto effect = [&](uint64_t group, uint64_t opcode) {
    return host_.Load<uint32_t>(kData + 1024 * group + 4 * opcode);
  };
  EXPECT_EQ(effect(0, 0x06), 1u);
  EXPECT_EQ(effect(0, 0x80), 0u);
  EXPECT_EQ(effect(1, 0x02), 1u);
  EXPECT_EQ(effect(1, 0x01), 3u);
  EXPECT_EQ(effect(1, 0x08), 3u);
  EXPECT_EQ(effect(1, 0x09), 3u);
  EXPECT_EQ(effect(1, 0x05), 0u);
}

TEST_F(NvmeAdminCommandTest, HealthLogIsOfTheControllerOrTheNamespace) {
  Command smart = Admin(0x02, 0x007f0002);
  smart.set_prp1(kData);
  for (const uint32_t nsid : {0u, 1u, 0xffffffffu}) {
    smart.set_namespace_id(nsid);
    EXPECT_TRUE(RunAdmin(smart).status.ok()) << nsid;
  }
  smart.set_namespace_id(2);
  EXPECT_EQ(RunAdmin(smart).status, kInvalidNamespace.Dnr());
}

TEST_F(NvmeAdminCommandTest, InterruptVectorsAreConfiguredOneByOne) {
  EXPECT_TRUE(RunAdmin(Admin(0x09, 0x09, 0x00010003)).status.ok());
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x09, 3)).result, 0x00010003u);
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x09, 2)).result, 2u);
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x109, 3)).result, 3u);  // Default.
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x09, 65)).status, kInvalidField.Dnr());
  EXPECT_TRUE(RunAdmin(Admin(0x09, 0x09, 0x00000003)).status.ok());
  EXPECT_EQ(RunAdmin(Admin(0x0a, 0x09, 3)).result, 3u);
}

TEST_F(NvmeAdminCommandTest, LogPageOffsetIsChecked) {
  Command log = Admin(0x02, 0x00000001);
  log.set_prp1(kData);
  log.set_qword(12, 64);
  EXPECT_EQ(RunAdmin(log).status, kInvalidField.Dnr());
  log.set_qword(12, 2);
  EXPECT_EQ(RunAdmin(log).status, kInvalidField.Dnr());
  log.set_qword(12, ~uint64_t{3});
  EXPECT_EQ(RunAdmin(log).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, UnknownLogPagesFail) {
  EXPECT_EQ(RunAdmin(Admin(0x02, 0x7f)).status, kInvalidLogPage.Dnr());
}

TEST_F(NvmeAdminCommandTest, AbortFindsNothingToAbort) {
  const Completion completion = RunAdmin(Admin(0x08, 0x00010000));
  EXPECT_TRUE(completion.status.ok());
  EXPECT_EQ(completion.result, 1u);
  EXPECT_EQ(RunAdmin(Admin(0x08, 5)).status, kInvalidField.Dnr());
}

TEST_F(NvmeAdminCommandTest, EventRequestsAreHeldUpToTheLimit) {
  for (int i = 0; i < 4; ++i) {
    SubmitAdmin(Admin(0x0c));
    EXPECT_TRUE(nvme_->Step());
  }
  EXPECT_EQ(nvme_->counters().completions, 0u);
  EXPECT_EQ(RunAdmin(Admin(0x0c)).status, kAsyncEventLimitExceeded.Dnr());
}

TEST_F(NvmeAdminCommandTest, QueueCommandsReachTheTable) {
  CreateIoQueues(1, 1);
  EXPECT_EQ(RunAdmin(Admin(0x04, 1)).status, kInvalidQueueDeletion.Dnr());
  EXPECT_TRUE(RunAdmin(Admin(0x00, 1)).status.ok());
  EXPECT_TRUE(RunAdmin(Admin(0x04, 1)).status.ok());
  EXPECT_EQ(RunAdmin(Admin(0x00, 1)).status, kInvalidQueueIdentifier.Dnr());
}

TEST_F(NvmeAdminCommandTest, VectorsBeyondZeroNeedMessages) {
  host_.SetInterruptMode(InterruptMode::kIntx);
  Command create = Admin(0x05, 0x000f0001, 0x00010003);
  create.set_prp1(kIoQueues);
  EXPECT_EQ(RunAdmin(create).status, kInvalidInterruptVector.Dnr());
}

class NvmeIoCommandTest : public NvmeModelTestBase {
 protected:
  NvmeIoCommandTest() {
    host_.SetInterruptMode(InterruptMode::kMsix);
    Enable();
    CreateIoQueues(1, 1);
  }

  static Command Io(uint8_t opcode, uint64_t lba, uint32_t blocks,
                    uint32_t nsid = 1) {
    Command command;
    command.set_raw_opcode(opcode);
    command.set_namespace_id(nsid);
    command.set_prp1(kData);
    command.set_qword(10, lba);
    command.set_dword(12, blocks - 1);
    return command;
  }
  static constexpr uint8_t kFlush = 0, kWrite = 1, kRead = 2;
};

TEST_F(NvmeIoCommandTest, WrittenBlocksAreReadBack) {
  for (int i = 0; i < 1024; ++i) {
    host_.Bytes(kData + i, 1)[0] = static_cast<uint8_t>(i * 7 + 3);
  }
  ASSERT_TRUE(RunIo(1, Io(kWrite, 100, 2)).status.ok());
  EXPECT_EQ(nvme_->store().Blocks(100, 2), host_.Bytes(kData, 1024));
  EXPECT_THAT(nvme_->store().Blocks(99, 1), Each(0));
  EXPECT_THAT(nvme_->store().Blocks(102, 1), Each(0));
  Command read = Io(kRead, 100, 2);
  read.set_prp1(kData + 0x2000);
  ASSERT_TRUE(RunIo(1, read).status.ok());
  EXPECT_EQ(host_.Bytes(kData + 0x2000, 1024), host_.Bytes(kData, 1024));
  EXPECT_EQ(nvme_->io_counters().blocks_written, 2u);
  EXPECT_EQ(nvme_->io_counters().blocks_read, 2u);
}

TEST_F(NvmeIoCommandTest, LargestTransferGoesThroughAList) {
  constexpr uint64_t kList = kData + 0x90000;
  for (uint64_t i = 0; i < 127; ++i) {
    host_.Store<uint64_t>(kList + 8 * i, kData + 0x1000 * (i + 1));
  }
  Command write = Io(kWrite, 1024, 1024);
  write.set_prp2(kList);
  host_.Store<uint32_t>(kData + 0x7fffc, 0x12345678);
  ASSERT_TRUE(RunIo(1, write).status.ok());
  EXPECT_EQ(nvme_->store().Blocks(2047, 1)[508], 0x78);
  EXPECT_EQ(nvme_->store().Blocks(2047, 1)[511], 0x12);
  EXPECT_EQ(RunIo(1, Io(kWrite, 0, 1025)).status, kInvalidField.Dnr());
}

TEST_F(NvmeIoCommandTest, BlocksOutsideOfTheNamespaceFail) {
  EXPECT_EQ(RunIo(1, Io(kRead, 2048, 1)).status, kLbaOutOfRange.Dnr());
  EXPECT_EQ(RunIo(1, Io(kWrite, 2047, 2)).status, kLbaOutOfRange.Dnr());
  EXPECT_EQ(RunIo(1, Io(kRead, ~uint64_t{0}, 2)).status, kLbaOutOfRange.Dnr());
  EXPECT_TRUE(RunIo(1, Io(kRead, 2047, 1)).status.ok());
}

TEST_F(NvmeIoCommandTest, OtherNamespacesFail) {
  EXPECT_EQ(RunIo(1, Io(kRead, 0, 1, 0)).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(RunIo(1, Io(kWrite, 0, 1, 2)).status, kInvalidNamespace.Dnr());
  EXPECT_EQ(RunIo(1, Io(kRead, 0, 1, 0xffffffff)).status,
            kInvalidNamespace.Dnr());
  EXPECT_EQ(RunIo(1, Io(kFlush, 0, 1, 2)).status, kInvalidNamespace.Dnr());
}

TEST_F(NvmeIoCommandTest, FlushOfOneOrAllNamespaces) {
  EXPECT_TRUE(RunIo(1, Io(kFlush, 0, 1, 1)).status.ok());
  EXPECT_TRUE(RunIo(1, Io(kFlush, 0, 1, 0xffffffff)).status.ok());
  EXPECT_EQ(nvme_->io_counters().flushes, 2u);
}

TEST_F(NvmeIoCommandTest, UnknownOpcodesFail) {
  for (int opcode : {0x04, 0x05, 0x0c, 0x0d, 0x19, 0x80, 0xff}) {
    EXPECT_EQ(RunIo(1, Io(static_cast<uint8_t>(opcode), 0, 1)).status,
              kInvalidOpcode.Dnr())
        << opcode;
  }
}

TEST_F(NvmeIoCommandTest, WriteZeroesMakesBlocksZero) {
  std::ranges::fill(nvme_->store().Blocks(0, 40), uint8_t{0x55});
  ASSERT_TRUE(RunIo(1, Io(0x08, 3, 30)).status.ok());
  EXPECT_THAT(nvme_->store().Blocks(0, 3), Each(0x55));
  EXPECT_THAT(nvme_->store().Blocks(3, 30), Each(0));
  EXPECT_THAT(nvme_->store().Blocks(33, 7), Each(0x55));
  EXPECT_EQ(nvme_->io_counters().blocks_zeroed, 30u);
  EXPECT_EQ(RunIo(1, Io(0x08, 2047, 2)).status, kLbaOutOfRange.Dnr());
  EXPECT_EQ(RunIo(1, Io(0x08, 0, 1, 2)).status, kInvalidNamespace.Dnr());
}

TEST_F(NvmeIoCommandTest, DeallocatedBlocksReadAsZero) {
  std::ranges::fill(nvme_->store().Blocks(0, 100), uint8_t{0x55});
  host_.Store<uint32_t>(kData + 4, 8);
  host_.Store<uint64_t>(kData + 8, 16);
  host_.Store<uint32_t>(kData + 16 + 4, 1);
  host_.Store<uint64_t>(kData + 16 + 8, 99);
  Command command = Io(0x09, 0, 1);
  command.set_dword(10, 1);  // Two ranges.
  // Only with the attribute Deallocate.
  command.set_dword(11, 0);
  ASSERT_TRUE(RunIo(1, command).status.ok());
  EXPECT_THAT(nvme_->store().Blocks(0, 100), Each(0x55));
  command.set_dword(11, 4);
  ASSERT_TRUE(RunIo(1, command).status.ok());
  EXPECT_THAT(nvme_->store().Blocks(0, 16), Each(0x55));
  EXPECT_THAT(nvme_->store().Blocks(16, 8), Each(0));
  EXPECT_THAT(nvme_->store().Blocks(24, 75), Each(0x55));
  EXPECT_THAT(nvme_->store().Blocks(99, 1), Each(0));
  // One bad range leaves all alone.
  host_.Store<uint64_t>(kData + 8, 0);
  host_.Store<uint64_t>(kData + 16 + 8, 2048);
  EXPECT_EQ(RunIo(1, command).status, kLbaOutOfRange.Dnr());
  EXPECT_THAT(nvme_->store().Blocks(0, 16), Each(0x55));
  command.set_prp1(kNowhere);
  EXPECT_EQ(RunIo(1, command).status, kDataTransferError);
}

TEST_F(NvmeIoCommandTest, FusedOperationsAreNotSupported) {
  Command command = Io(kRead, 0, 1);
  command.set_flags(0x01);
  EXPECT_EQ(RunIo(1, command).status, kInvalidField.Dnr());
}

TEST_F(NvmeIoCommandTest, RefusedDataIsATransferError) {
  Command read = Io(kRead, 0, 1);
  read.set_prp1(kNowhere);
  EXPECT_EQ(RunIo(1, read).status, kDataTransferError);
  host_.SetReadOnly(kData, 0x1000);
  EXPECT_EQ(RunIo(1, Io(kRead, 0, 1)).status, kDataTransferError);
  EXPECT_TRUE(RunIo(1, Io(kWrite, 0, 1)).status.ok());
  EXPECT_EQ(Read(0x1c), 1u);
}

TEST_F(NvmeIoCommandTest, PartlyRefusedWriteLeavesTheMediumAlone) {
  std::ranges::fill(host_.Bytes(kData, 0x1000), uint8_t{0x55});
  Command write = Io(kWrite, 0, 16);
  write.set_prp2(kNowhere);
  EXPECT_EQ(RunIo(1, write).status, kDataTransferError);
  EXPECT_THAT(nvme_->store().Blocks(0, 16), Each(0));
}

}  // namespace
}  // namespace passthru::models::nvme
