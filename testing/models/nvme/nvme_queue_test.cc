// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_queue.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

constexpr uint64_t kQueuePage = 0x1000;

TEST(NvmeSubmissionQueueTest, HeadFollowsTailAroundTheRing) {
  SubmissionQueue queue(1, 0x10000, /*entries=*/2, 1);
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.SetTail(1));
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.HeadAddress(), 0x10000u);
  queue.Pop();
  EXPECT_TRUE(queue.empty());
  EXPECT_TRUE(queue.SetTail(0));
  EXPECT_EQ(queue.HeadAddress(), 0x10040u);
  queue.Pop();
  EXPECT_EQ(queue.head(), 0);
}

TEST(NvmeSubmissionQueueTest, TailOutsideOfTheRingChangesNothing) {
  SubmissionQueue queue(1, 0, /*entries=*/4, 1);
  EXPECT_FALSE(queue.SetTail(4));
  EXPECT_FALSE(queue.SetTail(0xffff));
  EXPECT_TRUE(queue.empty());
}

TEST(NvmeCompletionQueueTest, FullLeavesOneEntryFree) {
  CompletionQueue queue(1, 0x2000, /*entries=*/3, true, 0);
  EXPECT_TRUE(queue.empty());
  queue.Push();
  EXPECT_FALSE(queue.full());
  queue.Push();
  EXPECT_TRUE(queue.full());
  EXPECT_TRUE(queue.SetHead(1));
  EXPECT_FALSE(queue.full());
  EXPECT_EQ(queue.TailAddress(), 0x2020u);
}

TEST(NvmeCompletionQueueTest, PhaseInvertsWithEachPass) {
  CompletionQueue queue(1, 0, /*entries=*/2, true, 0);
  EXPECT_TRUE(queue.phase());
  queue.Push();
  EXPECT_TRUE(queue.phase());
  queue.SetHead(1);
  queue.Push();
  EXPECT_FALSE(queue.phase());
  queue.SetHead(0);
  queue.Push();
  queue.SetHead(1);
  queue.Push();
  EXPECT_TRUE(queue.phase());
}

TEST(NvmeCompletionQueueTest, HeadCannotPassTheTailOrLeaveTheRing) {
  CompletionQueue queue(1, 0, /*entries=*/4, true, 0);
  queue.Push();
  EXPECT_FALSE(queue.SetHead(2));
  EXPECT_FALSE(queue.SetHead(4));
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.SetHead(1));
  EXPECT_TRUE(queue.empty());
}

class NvmeQueueTableTest : public ::testing::Test {
 protected:
  NvmeQueueTableTest()
      : table_({.io_queues = 4, .max_entries = 64, .vectors = 5}) {
    table_.CreateAdminQueues(0x1000, 32, 0x2000, 32);
  }

  static Command Create(uint16_t id, uint32_t entries, uint16_t vector_or_queue,
                        uint64_t base = 0x10000, uint32_t flags = 0x3) {
    Command command;
    command.set_prp1(base);
    command.set_dword(10, (entries - 1) << 16 | id);
    command.set_dword(11, uint32_t{vector_or_queue} << 16 | flags);
    return command;
  }
  static Command Delete(uint16_t id) {
    Command command;
    command.set_dword(10, id);
    return command;
  }
  Status CreateCq(const Command& command, bool messages = true) {
    return table_.CreateCompletionQueue(command, kQueuePage, messages);
  }
  Status CreateSq(const Command& command) {
    return table_.CreateSubmissionQueue(command, kQueuePage);
  }

  QueueTable table_;
};

TEST_F(NvmeQueueTableTest, PairIsCreatedAndDeleted) {
  EXPECT_FALSE(table_.has_io_queues());
  ASSERT_TRUE(CreateCq(Create(1, 64, 4)).ok());
  EXPECT_TRUE(table_.has_io_queues());
  ASSERT_TRUE(CreateSq(Create(2, 16, 1)).ok());
  EXPECT_EQ(table_.FindCompletion(1)->vector(), 4);
  EXPECT_TRUE(table_.FindCompletion(1)->interrupts_enabled());
  EXPECT_EQ(table_.FindSubmission(2)->completion_queue(), 1);
  EXPECT_EQ(table_.DeleteCompletionQueue(Delete(1)),
            kInvalidQueueDeletion.Dnr());
  EXPECT_TRUE(table_.DeleteSubmissionQueue(Delete(2)).ok());
  EXPECT_TRUE(table_.DeleteCompletionQueue(Delete(1)).ok());
  EXPECT_FALSE(table_.has_io_queues());
}

TEST_F(NvmeQueueTableTest, IdentifierOfCompletionQueueIsChecked) {
  EXPECT_EQ(CreateCq(Create(0, 8, 0)), kInvalidQueueIdentifier.Dnr());
  EXPECT_EQ(CreateCq(Create(5, 8, 0)), kInvalidQueueIdentifier.Dnr());
  ASSERT_TRUE(CreateCq(Create(1, 8, 0)).ok());
  EXPECT_EQ(CreateCq(Create(1, 8, 0)), kInvalidQueueIdentifier.Dnr());
}

TEST_F(NvmeQueueTableTest, SizeIsChecked) {
  EXPECT_EQ(CreateCq(Create(1, 1, 0)), kInvalidQueueSize.Dnr());
  EXPECT_EQ(CreateCq(Create(1, 65, 0)), kInvalidQueueSize.Dnr());
  EXPECT_EQ(CreateCq(Create(1, 0x10000, 0)), kInvalidQueueSize.Dnr());
}

TEST_F(NvmeQueueTableTest, BaseIsChecked) {
  EXPECT_EQ(CreateCq(Create(1, 8, 0, 0x10800)), kPrpOffsetInvalid.Dnr());
  EXPECT_EQ(CreateCq(Create(1, 8, 0, 0)), kPrpOffsetInvalid.Dnr());
}

TEST_F(NvmeQueueTableTest, OnlyContiguousQueues) {
  EXPECT_EQ(CreateCq(Create(1, 8, 0, 0x10000, /*flags=*/0x2)),
            kInvalidField.Dnr());
}

TEST_F(NvmeQueueTableTest, VectorIsChecked) {
  EXPECT_EQ(CreateCq(Create(1, 8, 5)), kInvalidInterruptVector.Dnr());
  EXPECT_EQ(CreateCq(Create(1, 8, 1), /*messages=*/false),
            kInvalidInterruptVector.Dnr());
  EXPECT_TRUE(CreateCq(Create(1, 8, 0), /*messages=*/false).ok());
}

TEST_F(NvmeQueueTableTest, SubmissionQueueNeedsItsCompletionQueue) {
  EXPECT_EQ(CreateSq(Create(1, 8, 1)), kCompletionQueueInvalid.Dnr());
  EXPECT_EQ(CreateSq(Create(1, 8, 0)), kCompletionQueueInvalid.Dnr());
}

TEST_F(NvmeQueueTableTest, IdentifierOfSubmissionQueueIsChecked) {
  ASSERT_TRUE(CreateCq(Create(1, 8, 0)).ok());
  EXPECT_EQ(CreateSq(Create(0, 8, 1)), kInvalidQueueIdentifier.Dnr());
  EXPECT_EQ(CreateSq(Create(5, 8, 1)), kInvalidQueueIdentifier.Dnr());
  ASSERT_TRUE(CreateSq(Create(1, 8, 1)).ok());
  EXPECT_EQ(CreateSq(Create(1, 8, 1)), kInvalidQueueIdentifier.Dnr());
}

TEST_F(NvmeQueueTableTest, AdminQueuesCannotBeDeleted) {
  EXPECT_EQ(table_.DeleteSubmissionQueue(Delete(0)),
            kInvalidQueueIdentifier.Dnr());
  EXPECT_EQ(table_.DeleteCompletionQueue(Delete(0)),
            kInvalidQueueIdentifier.Dnr());
}

TEST_F(NvmeQueueTableTest, AbsentQueuesCannotBeDeleted) {
  EXPECT_EQ(table_.DeleteSubmissionQueue(Delete(3)),
            kInvalidQueueIdentifier.Dnr());
  EXPECT_EQ(table_.DeleteCompletionQueue(Delete(3)),
            kInvalidQueueIdentifier.Dnr());
}

TEST_F(NvmeQueueTableTest, QueuesAreServedInTurn) {
  ASSERT_TRUE(CreateCq(Create(1, 8, 0)).ok());
  ASSERT_TRUE(CreateSq(Create(1, 8, 1)).ok());
  ASSERT_TRUE(CreateSq(Create(3, 8, 1)).ok());
  EXPECT_EQ(table_.NextWithWork(0xffff), nullptr);
  for (uint16_t id : {0, 1, 3}) table_.FindSubmission(id)->SetTail(2);
  EXPECT_EQ(table_.NextWithWork(0xffff)->id(), 0);
  EXPECT_EQ(table_.NextWithWork(0)->id(), 1);
  EXPECT_EQ(table_.NextWithWork(1)->id(), 3);
  EXPECT_EQ(table_.NextWithWork(3)->id(), 0);
}

TEST_F(NvmeQueueTableTest, QueueWithoutRoomForItsCompletionWaits) {
  ASSERT_TRUE(CreateCq(Create(1, 2, 0)).ok());
  ASSERT_TRUE(CreateSq(Create(1, 8, 1)).ok());
  table_.FindSubmission(1)->SetTail(2);
  table_.FindCompletion(1)->Push();
  EXPECT_EQ(table_.NextWithWork(0), nullptr);
  table_.FindCompletion(1)->SetHead(1);
  EXPECT_EQ(table_.NextWithWork(0)->id(), 1);
}

}  // namespace
}  // namespace passthru::models::nvme
