// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/nvme_queue_pair.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/linux/guest_ram.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kRam = DirectMachine::kRamBase;
// The doorbells are plain memory at the end of RAM.
constexpr uint64_t kDoorbells = kRam + 0x700000;

class NvmeQueuePairTest : public ::testing::Test {
 protected:
  NvmeQueuePairTest()
      : ram_(&machine_, {kRam, 0x10000}),
        queue_(NvmeQueuePair::Create(&machine_, &ram_, 1, 4, [] {
                 return kDoorbells;
               }).value()) {}

  // Posts a completion as the controller would.
  void Post(uint16_t slot, uint16_t command_id, bool phase) {
    models::nvme::Completion completion;
    completion.command_id = command_id;
    completion.phase = phase;
    ram_.Write(queue_.completion_base() + 16 * slot, completion.Encode());
  }
  uint64_t TailDoorbell() { return machine_.Load(kDoorbells + 8, 4); }
  uint64_t HeadDoorbell() { return machine_.Load(kDoorbells + 12, 4); }

  DirectMachine machine_;
  GuestRam ram_;
  NvmeQueuePair queue_;
};

TEST_F(NvmeQueuePairTest, SizeIsChecked) {
  const auto doorbells = [] { return kDoorbells; };
  EXPECT_THAT(NvmeQueuePair::Create(&machine_, &ram_, 1, 1, doorbells),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(NvmeQueuePair::Create(&machine_, &ram_, 1, 65, doorbells),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(NvmeQueuePairTest, SubmissionsFillTheRingButOne) {
  EXPECT_EQ(queue_.room(), 3);
  for (uint16_t i = 0; i < 3; ++i) {
    EXPECT_THAT(queue_.Submit(models::nvme::Command()), IsOkAndHolds(i));
    EXPECT_EQ(TailDoorbell(), i + 1u);
  }
  EXPECT_THAT(queue_.Submit(models::nvme::Command()),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(NvmeQueuePairTest, CommandIsWrittenBeforeTheDoorbell) {
  models::nvme::Command command;
  command.set_opcode(models::nvme::IoOpcode::kRead);
  command.set_prp1(0x123000);
  ASSERT_TRUE(queue_.Submit(command).ok());
  EXPECT_EQ(machine_.Load(queue_.submission_base(), 1), 0x02u);
  EXPECT_EQ(machine_.Load(queue_.submission_base() + 24, 8), 0x123000u);
}

TEST_F(NvmeQueuePairTest, CompletionsAreTakenByPhase) {
  EXPECT_THAT(queue_.Process(), IsEmpty());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue_.Submit({}).ok());
  Post(0, 1, true);
  Post(1, 0, true);
  EXPECT_THAT(queue_.Process(), SizeIs(2));
  EXPECT_EQ(HeadDoorbell(), 2u);
  EXPECT_THAT(queue_.Process(), IsEmpty());
  EXPECT_EQ(queue_.room(), 2);
}

TEST_F(NvmeQueuePairTest, PhaseInvertsAtTheRingsEnd) {
  for (uint16_t i = 0; i < 10; ++i) {
    ASSERT_THAT(queue_.Submit({}), IsOkAndHolds(0));
    EXPECT_THAT(queue_.Process(), IsEmpty());
    Post(i % 4, 0, (i / 4) % 2 == 0);
    EXPECT_THAT(queue_.Process(), SizeIs(1));
  }
}

TEST_F(NvmeQueuePairTest, CompletionsForNothingAreDropped) {
  ASSERT_THAT(queue_.Submit({}), IsOkAndHolds(0));
  Post(0, 3, true);       // Never submitted.
  Post(1, 0xffff, true);  // No identifier of this queue.
  EXPECT_THAT(queue_.Process(), IsEmpty());
  EXPECT_EQ(queue_.stray_completions(), 2u);
  EXPECT_EQ(queue_.room(), 2);
  EXPECT_EQ(HeadDoorbell(), 2u);
}

TEST_F(NvmeQueuePairTest, ACompletionPerEntryEndsTheHandler) {
  // The phases alternate all the way, as if the device posted without end.
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(queue_.Submit({}).ok());
  for (uint16_t i = 0; i < 4; ++i) Post(i, i % 3, true);
  EXPECT_THAT(queue_.Process(), SizeIs(3));
  EXPECT_EQ(queue_.stray_completions(), 1u);
}

TEST_F(NvmeQueuePairTest, ResetEmptiesBothRings) {
  ASSERT_TRUE(queue_.Submit({}).ok());
  Post(0, 0, true);
  queue_.Reset();
  EXPECT_THAT(queue_.Process(), IsEmpty());
  EXPECT_EQ(queue_.room(), 3);
}

}  // namespace
}  // namespace passthru::guest
