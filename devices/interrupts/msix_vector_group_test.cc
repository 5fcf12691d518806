// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/msix_vector_group.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

using Kind = MsixVectorGroup::Kind;

pci::MsiMessage VectorMessage(uint32_t data) {
  return {.address = 0xfee01000, .data = data};
}

class MsixVectorGroupTest : public ::testing::Test {
 protected:
  static constexpr uint16_t kVectors = 8;

  MsixVectorGroupTest() { Create(Kind::kMsix, /*dynamic=*/true); }

  void Create(Kind kind, bool dynamic, uint32_t max_entries = 4096) {
    group_.reset();
    router_.reset();
    loop_.reset();
    rig_.emplace(fake::InterruptRig::Options{
        .kind = kind == Kind::kMsi ? fake::InterruptRig::Kind::kMsi
                                   : fake::InterruptRig::Kind::kMsix,
        .vectors = kVectors,
        .dynamic = dynamic,
        .log = &log_});
    loop_ = *kernel::EpollEventLoop::Create(rig_->syscalls());
    router_ = *GsiRouter::Create({.table = &*rig_,
                                  .base_routes = DefaultIrqchipRoutes(),
                                  .max_entries = max_entries});
    group_ = std::make_unique<MsixVectorGroup>(
        MsixVectorGroup::Options{.kind = kind,
                                 .vectors = kVectors,
                                 .syscalls = rig_->syscalls(),
                                 .host = &*rig_,
                                 .router = router_.get(),
                                 .controller = &*rig_,
                                 .loop = loop_.get(),
                                 .failures = &failures_,
                                 .budget = budget_,
                                 .name = "test MSI-X"});
    log_.clear();
  }

  void Set(uint16_t vector, uint32_t data, bool masked) {
    group_->SetVector(pci::VectorIndex(vector), VectorMessage(data), masked);
  }
  VectorState State(uint16_t vector) const {
    return group_->state(pci::VectorIndex(vector));
  }
  bool Pending(uint16_t vector) const {
    return group_->Pending(pci::VectorIndex(vector), 1) == 1;
  }
  // Runs the callbacks that the event loop's thread would run.
  void RunLoop() {
    for (;;) {
      const absl::StatusOr<int> ran = loop_->RunOnce(/*timeout_ms=*/0);
      ASSERT_THAT(ran, IsOk());
      if (*ran == 0) return;
    }
  }
  void Fire(uint16_t vector) {
    ASSERT_TRUE(rig_->Fire(vector)) << "vector is not armed";
    RunLoop();
  }
  // Brings `vector` to kActive with message `data`.
  void Activate(uint16_t vector, uint32_t data) {
    Set(vector, data, /*masked=*/false);
    Fire(vector);
    ASSERT_EQ(State(vector), VectorState::kActive);
    ASSERT_THAT(rig_->TakeDelivered(), ElementsAre(VectorMessage(data)));
    log_.clear();
  }
  std::vector<pci::MsiMessage> Delivered() { return rig_->TakeDelivered(); }

  kernel::FailureLog failures_{"device"};
  fake::CallLog log_;
  std::optional<fake::InterruptRig> rig_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<GsiRouter> router_;
  InterruptBudget::Reservation* budget_ = nullptr;
  std::unique_ptr<MsixVectorGroup> group_;
};

// --- Off and arming.

TEST_F(MsixVectorGroupTest, ADynamicHostIsEnabledWithOneUnsignalledVector) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
  EXPECT_EQ(State(0), VectorState::kOff);
}

TEST_F(MsixVectorGroupTest, AFixedHostIsEnabledWithAllVectors) {
  Create(Kind::kMsix, /*dynamic=*/false);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  EXPECT_THAT(log_, ElementsAre("set 0+8"));
  EXPECT_EQ(rig_->allocated(), 8u);
}

TEST_F(MsixVectorGroupTest, ProgrammedVectorsAreArmedAtOnceAtFunctionUnmask) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  for (uint16_t i = 0; i < 5; ++i) Set(i, 0x30 + i, /*masked=*/true);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 0+5"));
  EXPECT_EQ(State(4), VectorState::kMasked);
  EXPECT_EQ(State(5), VectorState::kOff);
  EXPECT_EQ(rig_->allocated(), 5u);
}

TEST_F(MsixVectorGroupTest, UnprogrammedVectorsInBetweenCostNoHostVector) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/true), IsOk());
  Set(1, 0x31, /*masked=*/true);
  Set(6, 0x36, /*masked=*/true);
  log_.clear();
  group_->SetFunctionMask(false);
  EXPECT_THAT(log_, ElementsAre("set 1+6"));
  EXPECT_EQ(rig_->allocated(), 3u);  // Enabling took vector 0.
}

TEST_F(MsixVectorGroupTest, VectorsUnmaskedOneByOneAreArmedInDoublingBlocks) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  log_.clear();
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x30 + i, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("set 0+1", "set 1+1", "set 2+2", "set 4+4"));
}

TEST_F(MsixVectorGroupTest, ArmedVectorsAreNeverSetAgain) {
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

TEST_F(MsixVectorGroupTest, AVectorWithoutAHostVectorWorksWhenOneIsFree) {
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
TEST_F(MsixVectorGroupTest, AVectorThatIsArmedWithAnotherWorksToo) {
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

TEST_F(MsixVectorGroupTest, AMaskedVectorIsNotReportedAsSilent) {
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  rig_->FailSet(1, ENOSPC);
  Set(0, 0x30, /*masked=*/false);
  ASSERT_TRUE(group_->Describe()[0].unarmed);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_FALSE(group_->Describe()[0].unarmed);
}

TEST_F(MsixVectorGroupTest, ABlockThatIsTooLargeIsCutToTheVectorInUse) {
  rig_->LimitVectors(3);
  ASSERT_THAT(group_->Enable(kVectors, /*function_masked=*/false), IsOk());
  for (uint16_t i = 0; i < 3; ++i) Set(i, 0x30 + i, /*masked=*/false);
  EXPECT_EQ(State(2), VectorState::kWatched);
  Set(3, 0x33, /*masked=*/false);
  EXPECT_EQ(State(3), VectorState::kOff);
  Fire(2);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x32)));
}

TEST_F(MsixVectorGroupTest, AFixedHostWithFewerVectorsGivesWhatItHas) {
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

TEST_F(MsixVectorGroupTest, EnableThatFailsIsTriedAgainAtUnmask) {
  rig_->FailSet(1, EBUSY);
  EXPECT_EQ(kernel::ErrnoOf(group_->Enable(kVectors, false)), EBUSY);
  Set(0, 0x30, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorGroupTest, EnablingTwiceIsRefused) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  EXPECT_THAT(group_->Enable(kVectors, false),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(MsixVectorGroupTest, VectorsUnmaskedBeforeEnableWorkFromThenOn) {
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

TEST_F(MsixVectorGroupTest, AHostThatHasMoreThanItWasAskedForIsRefused) {
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

// --- Masked.

TEST_F(MsixVectorGroupTest, AMaskedVectorKeepsItsInterruptPending) {
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

TEST_F(MsixVectorGroupTest, TheFunctionMaskHoldsInterruptsAsWell) {
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

TEST_F(MsixVectorGroupTest, InterruptsOfAMaskedVectorCoalesce) {
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

TEST_F(MsixVectorGroupTest, ACountThatTriggeredAnIrqfdIsNotPendingLater) {
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

TEST_F(MsixVectorGroupTest, UnmaskOfACommittedVectorIsOneIrqfdAndNothingElse) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  EXPECT_THAT(log_, ElementsAre("irqfd off 24"));
  log_.clear();
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(log_, ElementsAre("irqfd on 24"));
  EXPECT_EQ(State(0), VectorState::kActive);
}

TEST_F(MsixVectorGroupTest, MessageWritesWhileMaskedMakeNoCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  log_.clear();
  for (uint32_t data = 0x40; data < 0x50; ++data) Set(0, data, true);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorGroupTest, NothingIsPendingOutsideOfTheTable) {
  EXPECT_EQ(group_->Pending(pci::VectorIndex(0), 64), 0u);
  EXPECT_EQ(group_->Pending(pci::VectorIndex(2047), 64), 0u);
}

// --- Watched.

TEST_F(MsixVectorGroupTest, UnmaskWithoutARouteMakesNoRoutingCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  log_.clear();
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_THAT(log_, ElementsAre("set 0+1"));
}

TEST_F(MsixVectorGroupTest, TheFirstInterruptIsSignalledAndThenPromotes) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  log_.clear();
  Fire(0);
  // The route comes first, because an irqfd without one loses interrupts.
  EXPECT_THAT(log_, ElementsAre("signal 48", "route 41", "irqfd on 24"));
  EXPECT_EQ(State(0), VectorState::kActive);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorGroupTest, OtherVectorsAssignAtTheirOwnNextEvent) {
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

TEST_F(MsixVectorGroupTest, MaskOfAWatchedVectorMakesNoCall) {
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

TEST_F(MsixVectorGroupTest, AMessageChangedWhileWatchedIsTheOneDelivered) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  Set(0, 0x77, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x77)));
  EXPECT_EQ(State(0), VectorState::kActive);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x77)));
}

TEST_F(MsixVectorGroupTest, AnInterruptWithoutAMessageIsDroppedAndCounted) {
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

TEST_F(MsixVectorGroupTest, ASignalThatTheKernelRefusesIsCounted) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailSignal(1, EINVAL);
  Fire(0);
  EXPECT_EQ(group_->stats().failed_calls, 1u);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

// --- Promotion that fails.

TEST_F(MsixVectorGroupTest, AFailedCommitLeavesTheVectorToUserSpaceForGood) {
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

TEST_F(MsixVectorGroupTest, AFailedIrqfdLeavesTheVectorToUserSpaceForGood) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Set(0, 0x30, /*masked=*/false);
  rig_->FailAssign(1, EBUSY);
  Fire(0);
  Fire(0);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_EQ(Delivered().size(), 2u);
  EXPECT_EQ(group_->stats().irqfd_assigns, 1u);
}

TEST_F(MsixVectorGroupTest, AFailedIrqfdAtUnmaskDeliversWhatIsPending) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/true);
  Fire(0);
  rig_->FailAssign(1, ENOMEM);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_EQ(State(0), VectorState::kWatched);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorGroupTest, VectorsBeyondTheRouteLimitWorkThroughUserSpace) {
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

TEST_F(MsixVectorGroupTest, DisableForgetsAFailedPromotion) {
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

TEST_F(MsixVectorGroupTest, AnActiveVectorNeedsNoUserSpace) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Fire(0);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x30)));
}

TEST_F(MsixVectorGroupTest, TheIrqfdIsOffBeforeAMessageChanges) {
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

TEST_F(MsixVectorGroupTest, TheSameMessageWrittenAgainMakesNoCall) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x30, /*masked=*/false);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(MsixVectorGroupTest, MaskAndMessageInOneWriteLeaveItMasked) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  Set(0, 0x44, /*masked=*/true);
  EXPECT_EQ(State(0), VectorState::kMasked);
  Fire(0);
  Set(0, 0x44, /*masked=*/false);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

// --- Disable.

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

TEST_F(MsixVectorGroupTest, AnIrqfdThatStaysIsDeassignedAtTheNextOccasion) {
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

TEST_F(MsixVectorGroupTest, TheGsiOfAnIrqfdThatStaysIsNotGivenAway) {
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
TEST_F(MsixVectorGroupTest, AMessageChangesAlsoUnderAnIrqfdThatStays) {
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

TEST_F(MsixVectorGroupTest, AVectorUnmasksWithANewMessageUnderAStuckIrqfd) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  Activate(0, 0x30);
  rig_->FailDeassign(2, ENOMEM);
  Set(0, 0x30, /*masked=*/true);
  Set(0, 0x44, /*masked=*/false);
  Fire(0);
  EXPECT_THAT(Delivered(), ElementsAre(VectorMessage(0x44)));
}

TEST_F(MsixVectorGroupTest, ACommitThatFailsUnderAnIrqfdThatStaysIsRetried) {
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

// --- Shortage.

// The budget covers the other devices of the VM, so it is asked at arming.
TEST_F(MsixVectorGroupTest, AVectorIsTakenFromTheBudgetWhenItIsArmed) {
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

TEST_F(MsixVectorGroupTest, UnmaskingAllStopsAtTheFirstShortage) {
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

TEST_F(MsixVectorGroupTest, UnmaskingAllEnablesAHostOnlyOnce) {
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

TEST_F(MsixVectorGroupTest, AfterShutdownTheHostIsNotCalled) {
  ASSERT_THAT(group_->Enable(kVectors, false), IsOk());
  rig_->FailDisable(1, EIO);
  group_->Shutdown();
  const int calls = rig_->host_calls();
  EXPECT_THAT(group_->Disable(), IsOk());
  EXPECT_EQ(rig_->host_calls(), calls);
}

// --- MSI.

TEST_F(MsixVectorGroupTest, MsiArmsAllItsVectorsWithOneCall) {
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
TEST_F(MsixVectorGroupTest, MsiThatIsEnabledLateEnablesAllItsVectors) {
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

// --- Kernel calls that fail to disable.

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

TEST_F(MsixVectorGroupTest, MsiVectorsBeyondTheEnabledCountStayOff) {
  Create(Kind::kMsi, /*dynamic=*/false);
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0x40 + i, /*masked=*/false);
  ASSERT_THAT(group_->Enable(2, /*function_masked=*/false), IsOk());
  EXPECT_EQ(State(1), VectorState::kWatched);
  EXPECT_EQ(State(2), VectorState::kOff);
}

TEST_F(MsixVectorGroupTest, MsiTakesWhatTheHostHas) {
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
