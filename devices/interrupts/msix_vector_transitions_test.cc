// SPDX-License-Identifier: Apache-2.0
//
// How each vector passes from state to state.

#include <cerrno>
#include <cstdint>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/pci/vector_index.h"
#include "passthru/testing/rig/msix_vector_group_test_base.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using MsixVectorTransitionsTest = fake::MsixVectorGroupTest;
using fake::VectorMessage;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// --- Masked.

TEST_F(MsixVectorTransitionsTest, AMaskedVectorKeepsItsInterruptPending) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_FALSE(Pending(0));
  Fire(0);
  EXPECT_TRUE(Pending(0));
  EXPECT_TRUE(Pending(0)) << "reading the PBA consumed the interrupt";
  EXPECT_THAT(Delivered(), IsEmpty());

  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
  EXPECT_FALSE(Pending(0));
}

TEST_F(MsixVectorTransitionsTest, TheFunctionMaskHoldsInterruptsAsWell) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(1, 0x31, /*masked=*/false);
  group_->SetFunctionMask(true);
  Fire(0);
  Fire(1);
  EXPECT_THAT(Delivered(), IsEmpty());
  EXPECT_EQ(group_->Pending(pci::VectorIndex(0), 64), 0x3u);
  EXPECT_EQ(group_->Pending(pci::VectorIndex(1), 64), 0x1u);
  group_->SetFunctionMask(false);
  EXPECT_THAT(Delivered(),
              ElementsAre(VectorMessage(0x30), VectorMessage(0x31)));
}

TEST_F(MsixVectorTransitionsTest, InterruptsOfAMaskedVectorCoalesce) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  Fire(0);
  Fire(0);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
  RunLoop();
  EXPECT_THAT(Delivered(), IsEmpty());
}

TEST_F(MsixVectorTransitionsTest, ACountThatTriggeredAnIrqfdIsNotPendingLater) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  Fire(0);
  Set(0, 0x30, /*masked=*/false);  // The irqfd triggers without draining.
  ASSERT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
  Set(0, 0x30, /*masked=*/true);
  EXPECT_FALSE(Pending(0));
  Set(0, 0x30, /*masked=*/false);
  RunLoop();
  EXPECT_THAT(Delivered(), IsEmpty());
}

TEST_F(MsixVectorTransitionsTest,
       UnmaskOfACommittedVectorIsOneIrqfdAndNothingElse) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_THAT(log_, ElementsAre("irqfd off 24"));
  log_.clear();
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("irqfd on 24"));
  EXPECT_EQ(State(0), VectorState::kActive);
}

TEST_F(MsixVectorTransitionsTest, MessageWritesWhileMaskedMakeNoCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  log_.clear();
  for (uint32_t data = 0x40; data < 0x50; ++data) Set(0, data, true);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorTransitionsTest, NothingIsPendingOutsideOfTheTable) {
  EXPECT_EQ(group_->Pending(pci::VectorIndex(0), 64), 0u);
  EXPECT_EQ(group_->Pending(pci::VectorIndex(2047), 64), 0u);
}

// --- Watched.

TEST_F(MsixVectorTransitionsTest, UnmaskWithoutARouteMakesNoRoutingCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  log_.clear();
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
}

TEST_F(MsixVectorTransitionsTest, TheFirstInterruptIsSignalledAndThenPromotes) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  log_.clear();
  Fire(0);
  // The route comes first, because an irqfd without one loses interrupts.
  EXPECT_THAT(log_, ElementsAre("signal 48", "route 41", "irqfd on 24"));
  EXPECT_EQ(State(0), VectorState::kActive);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorTransitionsTest, OtherVectorsAssignAtTheirOwnNextEvent) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  Set(1, 0x31, /*masked=*/false);
  Fire(0);
  EXPECT_EQ(State(1), VectorState::kWatched);
  log_.clear();
  Fire(1);
  EXPECT_THAT(log_, ElementsAre("signal 49", "irqfd on 25"));
  EXPECT_EQ(State(1), VectorState::kActive);
}

TEST_F(MsixVectorTransitionsTest, MaskOfAWatchedVectorMakesNoCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  log_.clear();
  Set(0, 0x30, /*masked=*/true);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(State(0), VectorState::kMasked);
  Fire(0);
  EXPECT_TRUE(Pending(0));
  EXPECT_THAT(Delivered(), IsEmpty());
}

TEST_F(MsixVectorTransitionsTest,
       AMessageChangedWhileWatchedIsTheOneDelivered) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  Set(0, 0x77, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x77)));
  EXPECT_EQ(State(0), VectorState::kActive);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x77)));
}

TEST_F(MsixVectorTransitionsTest,
       AnInterruptWithoutAMessageIsDroppedAndCounted) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  group_->SetVector(pci::VectorIndex(0), {.address = 0x1000, .data = 0x40},
                    /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), IsEmpty());
  EXPECT_EQ(group_->stats().dropped, 1u);
  EXPECT_EQ(router_->stats().routing_calls, 0u);
  Set(0, 0x30, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorTransitionsTest, ASignalThatTheKernelRefusesIsCounted) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailSignal(1, EINVAL);
  Fire(0);
  EXPECT_EQ(group_->stats().failed_calls, 1u);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

// --- Promotion that fails.

TEST_F(MsixVectorTransitionsTest,
       AFailedCommitLeavesTheVectorToUserSpaceForGood) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailRouting(1, ENOMEM);
  Fire(0);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_EQ(group_->stats().failed_promotions, 1u);
  log_.clear();
  for (int i = 0; i < 100; ++i) Fire(0);
  Set(0, 0x30, /*masked=*/true);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(Delivered().size(), 101u);
  EXPECT_THAT(log_, Each("signal 48"));
  EXPECT_TRUE(group_->Describe()[0].user_space_only);
  EXPECT_EQ(group_->Describe()[0].user_space_signals, 101u);
}

TEST_F(MsixVectorTransitionsTest,
       AFailedIrqfdLeavesTheVectorToUserSpaceForGood) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailAssign(1, EBUSY);
  Fire(0);
  Fire(0);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_EQ(Delivered().size(), 2u);
  EXPECT_EQ(group_->stats().irqfd_assigns, 1u);
}

TEST_F(MsixVectorTransitionsTest, AFailedIrqfdAtUnmaskDeliversWhatIsPending) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  Fire(0);
  rig_->FailAssign(1, ENOMEM);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorTransitionsTest,
       VectorsBeyondTheRouteLimitWorkThroughUserSpace) {
  Create(Kind::kMsix, /*dynamic=*/true, /*max_entries=*/42);
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  for (uint16_t i = 0; i < 4; ++i) Set(i, 0x30 + i, /*masked=*/false);
  for (int round = 0; round < 2; ++round) {
    for (uint16_t i = 0; i < 4; ++i) Fire(i);
  }
  EXPECT_EQ(Delivered().size(), 8u);
  EXPECT_EQ(State(1), VectorState::kActive);
  EXPECT_EQ(State(2), VectorState::kWatched);
  EXPECT_EQ(State(3), VectorState::kWatched);
  EXPECT_EQ(group_->stats().failed_promotions, 2u);
}

TEST_F(MsixVectorTransitionsTest, DisableForgetsAFailedPromotion) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailAssign(1, EBUSY);
  Fire(0);
  ASSERT_THAT(group_->Disable(), IsOk());
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Fire(0);
  EXPECT_EQ(State(0), VectorState::kActive);
}

// --- Active.

TEST_F(MsixVectorTransitionsTest, AnActiveVectorNeedsNoUserSpace) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Fire(0);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorTransitionsTest, TheIrqfdIsOffBeforeAMessageChanges) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x44, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("irqfd off 24"));
  EXPECT_EQ(State(0), VectorState::kWatched);
  log_.clear();
  Fire(0);
  EXPECT_THAT(log_, ElementsAre("signal 68", "route 41", "irqfd on 24"));
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

TEST_F(MsixVectorTransitionsTest, TheSameMessageWrittenAgainMakesNoCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorTransitionsTest, MaskAndMessageInOneWriteLeaveItMasked) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x44, /*masked=*/true);
  EXPECT_EQ(State(0), VectorState::kMasked);
  Fire(0);
  Set(0, 0x44, /*masked=*/false);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

// --- An irqfd that stays.

TEST_F(MsixVectorTransitionsTest,
       AnIrqfdThatStaysIsDeassignedAtTheNextOccasion) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(1, ENOMEM);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_EQ(group_->stats().failed_calls, 1u);
  log_.clear();
  Set(0, 0x44, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("irqfd off 24"));
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

TEST_F(MsixVectorTransitionsTest, TheGsiOfAnIrqfdThatStaysIsNotGivenAway) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(1, ENOMEM);
  ASSERT_THAT(group_->Disable(), IsOk());
  EXPECT_EQ(router_->stats().routes, 1u);
  group_->Shutdown();
  EXPECT_EQ(router_->stats().routes, 0u);
}

// The kernel keeps the irqfd and takes the signals. What the route says must be
// the new message then, without waiting for another vector's commit.
TEST_F(MsixVectorTransitionsTest, AMessageChangesAlsoUnderAnIrqfdThatStays) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(1, ENOMEM);
  Set(0, 0x44, /*masked=*/false);
  EXPECT_EQ(router_->stats().uncommitted, 0u);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
  // The next change finds the irqfd deassignable again.
  Set(0, 0x45, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kWatched);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x45)));
}

TEST_F(MsixVectorTransitionsTest,
       AVectorUnmasksWithANewMessageUnderAStuckIrqfd) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(2, ENOMEM);
  Set(0, 0x30, /*masked=*/true);
  Set(0, 0x44, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

TEST_F(MsixVectorTransitionsTest,
       ACommitThatFailsUnderAnIrqfdThatStaysIsRetried) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(1, ENOMEM);
  rig_->FailRouting(1, ENOMEM);
  Set(0, 0x44, /*masked=*/false);
  EXPECT_THAT(failures_.Recent(),
              Contains(::testing::HasSubstr("with an earlier message")));
  Set(0, 0x45, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x45)));
}

}  // namespace
}  // namespace passthru::interrupts
