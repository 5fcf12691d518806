// SPDX-License-Identifier: Apache-2.0
//
// What disabling and shutting down a group leaves, also if the kernel refuses.

#include "passthru/devices/interrupts/msix_vector_group.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/testing/rig/msix_vector_group_test_base.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::MsixVectorGroupTest;
using fake::VectorMessage;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(MsixVectorGroupTest, DisableTurnsIrqfdsOffBeforeHostVectors) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Activate(1, 0x31);
  ASSERT_THAT(group_->Disable(), IsOk());
  EXPECT_THAT(log_, ElementsAre("irqfd off 24", "irqfd off 25", "set off"));
  EXPECT_EQ(State(0), VectorState::kOff);
  EXPECT_EQ(rig_->irqfds(), 0u);
  EXPECT_FALSE(rig_->enabled());
}

TEST_F(MsixVectorGroupTest, DisableLeavesNoStaleInterrupt) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  Set(0, 0x30, /*masked=*/true);
  Fire(0);
  ASSERT_TRUE(Pending(0));
  ASSERT_THAT(group_->Disable(), IsOk());
  EXPECT_FALSE(Pending(0));
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  RunLoop();
  EXPECT_THAT(Delivered(), IsEmpty());
}

TEST_F(MsixVectorGroupTest, ReenabledVectorsFindTheirRoutesCommitted) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  ASSERT_THAT(group_->Disable(), IsOk());
  log_.clear();
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  EXPECT_EQ(State(0), VectorState::kActive);
  EXPECT_THAT(log_, ElementsAre("set 0+1", "set 0+1", "irqfd on 24"));
}

TEST_F(MsixVectorGroupTest, DisableWhenOffMakesNoCall) {
  EXPECT_THAT(group_->Disable(), IsOk());
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorGroupTest, DisableAfterAFailedEnableMakesNoCall) {
  rig_->FailSet(1, EBUSY);
  EXPECT_THAT(group_->Enable(kVectors, true), Not(IsOk()));
  log_.clear();
  EXPECT_THAT(group_->Disable(), IsOk());
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorGroupTest, ShutdownLeavesNothing) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(1, 0x31, /*masked=*/false);
  group_->Shutdown();
  EXPECT_EQ(rig_->irqfds(), 0u);
  EXPECT_EQ(rig_->table().size(), 40u);
  EXPECT_EQ(router_->stats().routes, 0u);
  EXPECT_FALSE(rig_->enabled());
  EXPECT_THAT(group_->Enable(kVectors, false),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  group_->Shutdown();
}

TEST_F(MsixVectorGroupTest, ShutdownThatNeverHadARouteMakesNoRoutingCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  group_->Shutdown();
  EXPECT_EQ(router_->stats().routing_calls, 0u);
}

TEST_F(MsixVectorGroupTest, AfterShutdownTheHostIsNotCalled) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  rig_->FailDisable(1, EIO);
  group_->Shutdown();
  const int calls = rig_->host_calls();
  EXPECT_THAT(group_->Disable(), IsOk());
  EXPECT_EQ(rig_->host_calls(), calls);
}

TEST_F(MsixVectorGroupTest, ADisableThatFailedIsTriedAgainWhenEnabled) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailDisable(2, EIO);
  EXPECT_EQ(kernel::ErrnoOf(group_->Disable()), EIO);
  ASSERT_TRUE(rig_->Fire(0));  // The guest sees MSI-X off.
  RunLoop();
  EXPECT_THAT(Delivered(), IsEmpty());
  // Disabling fails once more, and then the unmasked vector retries it.
  log_.clear();
  EXPECT_EQ(kernel::ErrnoOf(group_->Enable(kVectors, false)), EIO);
  EXPECT_THAT(log_, ElementsAre("set off", "set off", "set 0+1", "set 0+1"));
  RunLoop();
  EXPECT_THAT(Delivered(), IsEmpty()) << "of the life before";
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorGroupTest, ADisableThatFailedIsTriedAgainWhenDisabled) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  rig_->FailDisable(1, EIO);
  EXPECT_EQ(kernel::ErrnoOf(group_->Disable()), EIO);
  EXPECT_THAT(group_->Disable(), IsOk());
  EXPECT_FALSE(rig_->enabled());
}

}  // namespace
}  // namespace passthru::interrupts
