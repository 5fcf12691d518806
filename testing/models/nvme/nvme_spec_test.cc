// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_spec.h"

#include <array>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::models::nvme {
namespace {

using ::testing::ElementsAre;

TEST(NvmeCommandTest, FieldsAreWhereFigure104PutsThem) {
  Command command;
  command.set_opcode(AdminOpcode::kIdentify);
  command.set_flags(0x40);
  command.set_command_id(0x1234);
  command.set_namespace_id(0x01020304);
  command.set_prp1(0x1111111122222222);
  command.set_prp2(0x3333333344444444);
  command.set_dword(10, 0xaabbccdd);
  command.set_qword(12, 0x5555555566666666);
  const auto bytes = command.bytes();
  EXPECT_EQ(bytes[0], 0x06);
  EXPECT_EQ(bytes[1], 0x40);
  EXPECT_EQ(bytes[2], 0x34);
  EXPECT_EQ(bytes[3], 0x12);
  EXPECT_EQ(bytes[4], 0x04);
  EXPECT_EQ(bytes[24], 0x22);
  EXPECT_EQ(bytes[28], 0x11);
  EXPECT_EQ(bytes[32], 0x44);
  EXPECT_EQ(bytes[36], 0x33);
  EXPECT_EQ(bytes[40], 0xdd);
  EXPECT_EQ(bytes[43], 0xaa);
  EXPECT_EQ(bytes[48], 0x66);
  EXPECT_EQ(bytes[52], 0x55);
  EXPECT_EQ(command.qword(12), 0x5555555566666666u);
}

TEST(NvmeCompletionTest, EncodesAsFigure121PrintsIt) {
  Completion completion;
  completion.result = 0x11223344;
  completion.submission_head = 0x0506;
  completion.submission_queue = 0x0708;
  completion.command_id = 0x090a;
  completion.status = kInvalidQueueSize.Dnr();
  completion.phase = true;
  EXPECT_THAT(completion.Encode(),
              ElementsAre(0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0, 0x06, 0x05, 0x08,
                          0x07, 0x0a, 0x09, 0x05, 0x82));
}

TEST(NvmeCompletionTest, DecodesWhatItEncodes) {
  Completion completion;
  completion.result = 7;
  completion.submission_head = 0xffff;
  completion.submission_queue = 1;
  completion.command_id = 0x8000;
  completion.status = kLbaOutOfRange.Dnr();
  const Completion decoded = Completion::Decode(completion.Encode());
  EXPECT_EQ(decoded.result, 7u);
  EXPECT_EQ(decoded.submission_head, 0xffff);
  EXPECT_EQ(decoded.submission_queue, 1);
  EXPECT_EQ(decoded.command_id, 0x8000);
  EXPECT_EQ(decoded.status, kLbaOutOfRange.Dnr());
  EXPECT_EQ(decoded.status.code(), 0x080);
  EXPECT_FALSE(decoded.phase);
}

TEST(NvmeCompletionTest, StatusIsOkWithoutACode) {
  EXPECT_TRUE(kSuccess.ok());
  EXPECT_FALSE(kInvalidOpcode.ok());
  EXPECT_FALSE(kCompletionQueueInvalid.ok());
}

}  // namespace
}  // namespace passthru::models::nvme
