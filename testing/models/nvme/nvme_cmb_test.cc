// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_cmb.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/nvme/nvme_model.h"
#include "passthru/testing/models/nvme/nvme_model_test_base.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

using ::absl_testing::StatusIs;
using ::testing::Each;

constexpr uint64_t kCmbSize = uint64_t{4} << 20;

class NvmeCmbTest : public NvmeModelTestBase {
 protected:
  // Where the guest put BAR 2. Nothing is mapped for DMA there.
  static constexpr uint64_t kCmbBase = 0x4000000000;

  NvmeCmbTest() {
    nvme_ = NvmeModel::Create({.cmb_bytes = kCmbSize}).value();
    nvme_->set_host(&host_);
    host_.SetBarMemory(kCmbSize);
    host_.SetInterruptMode(InterruptMode::kMsix);
  }

  static Command Io(uint8_t opcode, uint64_t lba, uint64_t address) {
    Command command;
    command.set_raw_opcode(opcode);
    command.set_namespace_id(1);
    command.set_prp1(address);
    command.set_qword(10, lba);
    return command;
  }
};

TEST_F(NvmeCmbTest, RegistersShowItOnceSoftwareAsks) {
  EXPECT_EQ(Read(0, 8) >> 57 & 1, 1u);
  EXPECT_EQ(Read(0x38), 0u);
  EXPECT_EQ(Read(0x3c), 0u);
  Write(0x50, 1);
  EXPECT_EQ(Read(0x38) & 7, 2u);
  EXPECT_EQ(Read(0x3c), 0x0000421du);
  Write(0x50, kCmbBase | 3, 8);
  EXPECT_EQ(Read(0x50, 8), kCmbBase | 3);
  EXPECT_EQ(Read(0x58), 0u);
}

TEST_F(NvmeCmbTest, DataMayBeInIt) {
  Enable();
  CreateIoQueues(1, 1);
  Write(0x50, kCmbBase | 3, 8);
  std::ranges::fill(host_.bar_memory().subspan(0x1000, 512), uint8_t{0x5a});
  ASSERT_TRUE(RunIo(1, Io(1, 7, kCmbBase + 0x1000)).status.ok());
  EXPECT_THAT(nvme_->store().Blocks(7, 1), Each(0x5a));
  ASSERT_TRUE(RunIo(1, Io(2, 7, kCmbBase + 0x3000)).status.ok());
  EXPECT_THAT(host_.bar_memory().subspan(0x3000, 512), Each(0x5a));
  // The last block is inside, and the next is elsewhere.
  EXPECT_TRUE(RunIo(1, Io(2, 7, kCmbBase + kCmbSize - 512)).status.ok());
  EXPECT_EQ(RunIo(1, Io(2, 7, kCmbBase + kCmbSize)).status, kDataTransferError);
}

TEST_F(NvmeCmbTest, AddressesAreTheHostsUntilItIsEnabled) {
  Enable();
  CreateIoQueues(1, 1);
  Write(0x50, kCmbBase | 1, 8);
  EXPECT_EQ(RunIo(1, Io(2, 7, kCmbBase)).status, kDataTransferError);
  Write(0x50, kCmbBase | 3, 8);
  EXPECT_TRUE(RunIo(1, Io(2, 7, kCmbBase)).status.ok());
}

TEST_F(NvmeCmbTest, SurvivesAControllerResetOnly) {
  Write(0x50, kCmbBase | 3, 8);
  Enable();
  Write(0x14, 0);
  nvme_->Step();
  EXPECT_EQ(Read(0x50, 8), kCmbBase | 3);
  nvme_->Reset(ResetKind::kFunctionLevel);
  EXPECT_EQ(Read(0x50, 8), 0u);
  EXPECT_EQ(Read(0x3c), 0u);
}

TEST_F(NvmeCmbTest, BaseThatWrapsIsInvalid) {
  Write(0x50, 0xfffffffffffff003, 8);
  EXPECT_EQ(Read(0x58), 1u);
}

TEST(NvmeWithoutCmbTest, HasNoRegistersOfOne) {
  auto nvme = NvmeModel::Create({}).value();
  const pci::BarIndex bar(0);
  EXPECT_EQ(nvme->ReadBar(bar, 0, 8) >> 57 & 1, 0u);
  nvme->WriteBar(bar, 0x50, 8, 3);
  EXPECT_EQ(nvme->ReadBar(bar, 0x50, 8), 0u);
  EXPECT_EQ(nvme->ReadBar(bar, 0x3c, 4), 0u);
}

TEST(NvmeWithoutCmbTest, OddSizesAreRefused) {
  EXPECT_THAT(NvmeModel::Create({.cmb_bytes = 4096}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace passthru::models::nvme
