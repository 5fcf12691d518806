// SPDX-License-Identifier: Apache-2.0
//
// When MSI-X and MSI vectors get their eventfds and host vectors, and what is
// done if there are too few.

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/testing/rig/msix_vector_group_test_base.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using MsixVectorArmingTest = fake::MsixVectorGroupTest;
using fake::VectorMessage;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(MsixVectorArmingTest, ADynamicHostIsEnabledWithOneUnsignalledVector) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
  EXPECT_EQ(State(0), VectorState::kOff);
}

TEST_F(MsixVectorArmingTest, AFixedHostIsEnabledWithAllVectors) {
  Create(Kind::kMsix, /*dynamic=*/false);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+8"));
  EXPECT_EQ(rig_->allocated(), 8u);
}

TEST_F(MsixVectorArmingTest, ProgrammedVectorsAreArmedAtOnceAtFunctionUnmask) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  for (uint16_t i = 0; i < 5; ++i) Set(i, 0x30 + i, /*masked=*/true);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 0+5"));
  EXPECT_EQ(State(4), VectorState::kMasked);
  EXPECT_EQ(State(5), VectorState::kOff);
  EXPECT_EQ(rig_->allocated(), 5u);
}

TEST_F(MsixVectorArmingTest, UnprogrammedVectorsInBetweenCostNoHostVector) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  Set(1, 0x31, /*masked=*/true);
  Set(6, 0x36, /*masked=*/true);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 1+6"));
  EXPECT_EQ(rig_->allocated(), 3u);  // Enabling took vector 0.
}

TEST_F(MsixVectorArmingTest, VectorsUnmaskedOneByOneAreArmedInDoublingBlocks) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  log_.clear();
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x30 + i, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("set 0+1", "set 1+1", "set 2+2", "set 4+4"));
}

TEST_F(MsixVectorArmingTest, ArmedVectorsAreNeverSetAgain) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  Set(2, 0x32, /*masked=*/true);
  group_->SetFunctionMask(false);
  group_->SetFunctionMask(true);
  Set(1, 0x31, /*masked=*/true);
  Set(3, 0x33, /*masked=*/true);
  log_.clear();
  group_->SetFunctionMask(false);  // The fake checks that 2 is left alone.
  EXPECT_THAT(log_, ElementsAre("set 1+1", "set 3+1"));
}

TEST_F(MsixVectorArmingTest, AVectorWithoutAHostVectorWorksWhenOneIsFree) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  rig_->FailSet(1, ENOSPC);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kOff);
  EXPECT_EQ(group_->stats().failed_arms, 1u);
  Set(0, 0x30, /*masked=*/true);
  Set(0, 0x30, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

// A block also arms vectors whose arming failed when the guest unmasked them.
TEST_F(MsixVectorArmingTest, AVectorThatIsArmedWithAnotherWorksToo) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  for (uint16_t i = 0; i < 2; ++i) Set(i, 0x30 + i, /*masked=*/false);
  rig_->FailSet(2, ENOSPC);
  Set(5, 0x35, /*masked=*/false);
  ASSERT_EQ(State(5), VectorState::kOff);
  ASSERT_TRUE(group_->Describe()[5].unarmed);
  Set(4, 0x34, /*masked=*/false);
  EXPECT_EQ(State(5), VectorState::kWatched);
  EXPECT_FALSE(group_->Describe()[5].unarmed);
  Fire(5);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x35)));
}

TEST_F(MsixVectorArmingTest, AMaskedVectorIsNotReportedAsSilent) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  rig_->FailSet(1, ENOSPC);
  Set(0, 0x30, /*masked=*/false);
  ASSERT_TRUE(group_->Describe()[0].unarmed);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_FALSE(group_->Describe()[0].unarmed);
}

TEST_F(MsixVectorArmingTest, ABlockThatIsTooLargeIsCutToTheVectorInUse) {
  rig_->LimitVectors(3);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  for (uint16_t i = 0; i < 3; ++i) Set(i, 0x30 + i, /*masked=*/false);
  EXPECT_EQ(State(2), VectorState::kWatched);
  Set(3, 0x33, /*masked=*/false);
  EXPECT_EQ(State(3), VectorState::kOff);
  Fire(2);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x32)));
}

TEST_F(MsixVectorArmingTest, AFixedHostWithFewerVectorsGivesWhatItHas) {
  Create(Kind::kMsix, /*dynamic=*/false);
  rig_->LimitVectors(3);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+8", "set 0+3"));
  Set(2, 0x32, /*masked=*/false);
  EXPECT_EQ(State(2), VectorState::kWatched);
  Set(3, 0x33, /*masked=*/false);
  EXPECT_EQ(State(3), VectorState::kOff);
  EXPECT_EQ(group_->stats().failed_arms, 1u);
}

TEST_F(MsixVectorArmingTest, EnableThatFailsIsTriedAgainAtUnmask) {
  rig_->FailSet(1, EBUSY);
  EXPECT_EQ(kernel::ErrnoOf(group_->Enable(kVectors, false)), EBUSY);
  Set(0, 0x30, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorArmingTest, EnablingTwiceIsRefused) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  EXPECT_THAT(group_->Enable(kVectors, false),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MsixVectorArmingTest, VectorsUnmaskedBeforeEnableWorkFromThenOn) {
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(log_, IsEmpty());
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

// A host that answers that it has more vectors than it was asked for.
class BoastingHost final : public HostVectors {
 public:
  uint32_t count() const override { return 8; }
  bool dynamic() const override { return true; }
  absl::StatusOr<uint32_t> Set(uint32_t,
                               absl::Span<const int> event_fds) override {
    return static_cast<uint32_t>(event_fds.size()) + 3;
  }
  absl::Status Disable() override { return absl::OkStatus(); }
};

TEST_F(MsixVectorArmingTest, AHostThatHasMoreThanItWasAskedForIsRefused) {
  BoastingHost host;
  MsixVectorGroup group({.kind = Kind::kMsix,
                         .vectors = kVectors,
                         .syscalls = rig_->syscalls(),
                         .host = &host,
                         .router = router_.get(),
                         .controller = &*rig_,
                         .loop = loop_.get(),
                         .failures = &failures_,
                         .name = "boast"});
  EXPECT_THAT(group.Enable(kVectors, /*function_masked=*/false),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

// --- Shortage.

// The budget covers the other devices of the VM, so it is asked at arming.
TEST_F(MsixVectorArmingTest, AVectorIsTakenFromTheBudgetWhenItIsArmed) {
  InterruptBudget budget({.event_fds = 3, .guaranteed = 1});
  auto share = budget.Reserve(kVectors);
  ASSERT_THAT(share, IsOk());
  budget_ = &*share;
  Create(Kind::kMsix, /*dynamic=*/true);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  {
    const auto other = budget.Reserve(kVectors);
    ASSERT_THAT(other, IsOk()) << "an idle device costs its guarantee";
    EXPECT_EQ(other->vectors(), 2u);
  }
  for (uint16_t i = 0; i < 5; ++i) Set(i, 0x30 + i, /*masked=*/false);
  group_->SetFunctionMask(false);
  EXPECT_EQ(State(2), VectorState::kWatched);
  EXPECT_EQ(State(3), VectorState::kOff);
  EXPECT_TRUE(group_->Describe()[3].unarmed);
  EXPECT_THAT(failures_.Recent(),
              Contains(::testing::HasSubstr("no eventfds left")));
  EXPECT_THAT(budget.Reserve(1),
              StatusIs(absl::StatusCode::kResourceExhausted));
  Fire(2);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x32)));
  group_->Shutdown();
  EXPECT_EQ(budget.Reserve(kVectors)->vectors(), 2u);
  group_.reset();
}

TEST_F(MsixVectorArmingTest, UnmaskingAllStopsAtTheFirstShortage) {
  rig_->LimitVectors(3);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x30 + i, /*masked=*/false);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 0+8", "set 0+4", "set 0+2", "set 2+2",
                                "set 2+1", "set 3+1"));
  EXPECT_EQ(State(2), VectorState::kWatched);
  EXPECT_TRUE(group_->Describe()[3].unarmed);
  EXPECT_TRUE(group_->Describe()[7].unarmed);
  rig_->LimitVectors(kVectors);
  group_->RetryUnarmed();
  for (uint16_t i = 0; i < kVectors; ++i) {
    EXPECT_EQ(State(i), VectorState::kWatched);
    EXPECT_FALSE(group_->Describe()[i].unarmed);
  }
}

TEST_F(MsixVectorArmingTest, UnmaskingAllEnablesAHostOnlyOnce) {
  rig_->FailSet(3, EBUSY);
  EXPECT_EQ(kernel::ErrnoOf(group_->Enable(kVectors, true)), EBUSY);
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x30 + i, /*masked=*/false);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
  EXPECT_TRUE(group_->Describe()[7].unarmed);
  log_.clear();
  group_->RetryUnarmed();
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
  group_->RetryUnarmed();
  EXPECT_EQ(State(7), VectorState::kWatched);
  log_.clear();
  group_->RetryUnarmed();
  EXPECT_THAT(log_, IsEmpty()) << "nothing is unarmed";
}

// --- MSI.

TEST_F(MsixVectorArmingTest, MsiArmsAllItsVectorsWithOneCall) {
  Create(Kind::kMsi, /*dynamic=*/false);
  for (uint16_t i = 0; i < 4; ++i) Set(i, 0x40 + i, /*masked=*/false);
  ASSERT_THAT(group_->Enable(4, /*function_masked=*/false), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+4"));
  EXPECT_EQ(rig_->allocated(), 4u);
  for (uint16_t i = 0; i < 4; ++i) Fire(i);
  EXPECT_THAT(Delivered(),
              ElementsAre(VectorMessage(0x40), VectorMessage(0x41),
                          VectorMessage(0x42), VectorMessage(0x43)));
}

// Without mask bits, only another write of the message can retry the arming.
TEST_F(MsixVectorArmingTest, MsiThatIsEnabledLateEnablesAllItsVectors) {
  Create(Kind::kMsi, /*dynamic=*/false);
  for (uint16_t i = 0; i < 4; ++i) Set(i, 0x40 + i, /*masked=*/false);
  rig_->FailSet(2, EBUSY);  // The guest's enable, and its four vectors.
  EXPECT_EQ(kernel::ErrnoOf(group_->Enable(4, false)), EBUSY);
  for (uint16_t i = 0; i < 4; ++i) Set(i, 0x50 + i, /*masked=*/false);
  for (uint16_t i = 0; i < 4; ++i) Fire(i);
  EXPECT_THAT(Delivered(),
              ElementsAre(VectorMessage(0x50), VectorMessage(0x51),
                          VectorMessage(0x52), VectorMessage(0x53)));
}

TEST_F(MsixVectorArmingTest, MsiVectorsBeyondTheEnabledCountStayOff) {
  Create(Kind::kMsi, /*dynamic=*/false);
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x40 + i, /*masked=*/false);
  ASSERT_THAT(group_->Enable(2, /*function_masked=*/false), IsOk());
  EXPECT_EQ(State(1), VectorState::kWatched);
  EXPECT_EQ(State(2), VectorState::kOff);
}

TEST_F(MsixVectorArmingTest, MsiTakesWhatTheHostHas) {
  Create(Kind::kMsi, /*dynamic=*/false);
  rig_->LimitVectors(1);
  for (uint16_t i = 0; i < 4; ++i) Set(i, 0x40 + i, /*masked=*/false);
  EXPECT_THAT(group_->Enable(4, /*function_masked=*/false), IsOk());
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_EQ(State(1), VectorState::kOff);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x40)));
}

}  // namespace
}  // namespace passthru::interrupts
