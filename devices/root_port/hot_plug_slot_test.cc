// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/hot_plug_slot.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::root_port {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using Changes = HotPlugSlot::Changes;
using Controls = HotPlugSlot::Controls;

constexpr uint16_t kButton = 0x001;
constexpr uint16_t kFault = 0x002;
constexpr uint16_t kPresence = 0x008;
constexpr uint16_t kLink = 0x100;

Controls On() { return {}; }
Controls Off() {
  return {.power_off = true, .power_indicator = pci::PcieIndicator::kOff};
}
Controls OffButBlinking() {
  return {.power_off = true, .power_indicator = pci::PcieIndicator::kBlink};
}

class HotPlugSlotTest : public ::testing::Test {
 protected:
  HotPlugSlotTest() { slot_.Reset(Off()); }

  // Returns a slot whose card has power and a driver.
  void Occupy() {
    slot_.Insert();
    slot_.Apply(On());
    ASSERT_TRUE(slot_.link_active());
  }

  HotPlugSlot slot_;
};

TEST_F(HotPlugSlotTest, ACardIsSeenAndTheButtonPressed) {
  EXPECT_EQ(slot_.Insert(), (Changes{.events = {kPresence | kButton}}));
  EXPECT_TRUE(slot_.card_present());
  EXPECT_FALSE(slot_.link_active()) << "the slot has no power";
  EXPECT_EQ(slot_.Insert(), Changes()) << "the slot is occupied";
}

TEST_F(HotPlugSlotTest, PowerBringsTheLinkUp) {
  slot_.Insert();
  EXPECT_EQ(slot_.Apply({.power_indicator = pci::PcieIndicator::kBlink}),
            (Changes{.events = {kLink}, .link_went_up = true}));
  EXPECT_TRUE(slot_.link_active());
  EXPECT_EQ(slot_.Apply(On()), Changes());
}

TEST_F(HotPlugSlotTest, AnEmptySlotWithPowerHasNoLink) {
  EXPECT_EQ(slot_.Apply(On()), Changes());
  EXPECT_EQ(slot_.Insert(), (Changes{.events = {kPresence | kButton | kLink},
                                     .link_went_up = true}));
}

TEST_F(HotPlugSlotTest, ACardThatIsThereAtPowerOnCausesNoEvent) {
  slot_.Insert();
  slot_.Reset(On());
  EXPECT_TRUE(slot_.card_present());
  EXPECT_TRUE(slot_.link_active());
  EXPECT_EQ(slot_.Apply(On()), Changes());
}

TEST_F(HotPlugSlotTest, EachOfTheControlsTakesTheLinkDown) {
  Occupy();
  for (const Controls& controls :
       {Off(), Controls{.link_disabled = true}, Controls{.bus_reset = true}}) {
    EXPECT_EQ(slot_.Apply(controls),
              (Changes{.events = {kLink}, .link_went_down = true}));
    EXPECT_EQ(slot_.FinishReset(), Changes());
    EXPECT_EQ(slot_.Apply(On()),
              (Changes{.events = {kLink}, .link_went_up = true}));
  }
}

TEST_F(HotPlugSlotTest, TheGuestLetsGoBeforeTheCardGoes) {
  Occupy();
  EXPECT_THAT(slot_.RequestRemoval(),
              IsOkAndHolds(Changes{.events = {kButton}}));
  EXPECT_TRUE(slot_.removal_pending());
  // As pciehp does, first the power and a second later the indicator.
  EXPECT_EQ(slot_.Apply({.power_indicator = pci::PcieIndicator::kBlink}),
            Changes());
  EXPECT_EQ(slot_.Apply(OffButBlinking()),
            (Changes{.events = {kLink}, .link_went_down = true}));
  EXPECT_TRUE(slot_.removal_pending());
  EXPECT_EQ(slot_.Apply(Off()), (Changes{.removal_permitted = true}));
  EXPECT_FALSE(slot_.removal_pending());
  EXPECT_TRUE(slot_.removal_requested());
  EXPECT_EQ(slot_.Apply(OffButBlinking()), Changes());
  EXPECT_EQ(slot_.Apply(Off()), Changes()) << "permitted once";
  EXPECT_EQ(slot_.Remove(), (Changes{.events = {kPresence}}));
  EXPECT_FALSE(slot_.removal_requested());
}

TEST_F(HotPlugSlotTest, ASlotThatIsOffGivesItsCardAtOnce) {
  Occupy();
  slot_.Apply(Off());
  EXPECT_THAT(slot_.RequestRemoval(),
              IsOkAndHolds(Changes{.removal_permitted = true}));
  EXPECT_FALSE(slot_.removal_pending());
}

// Without a request, a guest may turn a slot off and on as it likes.
TEST_F(HotPlugSlotTest, NobodyTakesACardThatWasNotAskedFor) {
  Occupy();
  EXPECT_FALSE(slot_.Apply(Off()).removal_permitted);
  EXPECT_FALSE(slot_.Apply(On()).removal_permitted);
}

TEST_F(HotPlugSlotTest, ARequestIsMadeOnce) {
  Occupy();
  ASSERT_THAT(slot_.RequestRemoval(), IsOk());
  EXPECT_THAT(slot_.RequestRemoval(),
              StatusIs(absl::StatusCode::kAlreadyExists));
  slot_.Apply(Off());
  EXPECT_THAT(slot_.RequestRemoval(),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(HotPlugSlotTest, ARequestIsTakenBackByTheButton) {
  Occupy();
  EXPECT_THAT(slot_.CancelRemoval(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(slot_.RequestRemoval(), IsOk());
  EXPECT_THAT(slot_.CancelRemoval(),
              IsOkAndHolds(Changes{.events = {kButton}}));
  EXPECT_FALSE(slot_.removal_pending());
  EXPECT_FALSE(slot_.Apply(Off()).removal_permitted);
  // It may be made again.
  EXPECT_THAT(slot_.RequestRemoval(), IsOk());
}

TEST_F(HotPlugSlotTest, TheLinkWaitsForTheReset) {
  Occupy();
  ASSERT_TRUE(slot_.Apply(Off()).link_went_down);
  EXPECT_EQ(slot_.Apply(On()), Changes());
  EXPECT_FALSE(slot_.link_active());
  EXPECT_EQ(slot_.FinishReset(),
            (Changes{.events = {kLink}, .link_went_up = true}));
  EXPECT_TRUE(slot_.link_active());
}

TEST_F(HotPlugSlotTest, ANewCardWaitsForTheResetOfTheLastOne) {
  Occupy();
  ASSERT_TRUE(slot_.Apply(Off()).link_went_down);
  slot_.Remove();
  slot_.Insert();
  EXPECT_EQ(slot_.Apply(On()), Changes());
  EXPECT_TRUE(slot_.FinishReset().link_went_up);
}

TEST_F(HotPlugSlotTest, ACardThatGoesWithItsLinkIsNotReset) {
  Occupy();
  EXPECT_FALSE(slot_.Remove().link_went_down);
  EXPECT_TRUE(slot_.Insert().link_went_up);
}

TEST_F(HotPlugSlotTest, AnEmptySlotHasNothingToGive) {
  EXPECT_THAT(slot_.RequestRemoval(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(slot_.Remove(), Changes());
  EXPECT_EQ(slot_.FailPower(), Changes());
}

TEST_F(HotPlugSlotTest, ASurpriseRemovalTakesTheLinkDown) {
  Occupy();
  ASSERT_THAT(slot_.RequestRemoval(), IsOk());
  EXPECT_EQ(slot_.Remove(), (Changes{.events = {kPresence | kLink}}));
  EXPECT_FALSE(slot_.removal_pending());
  EXPECT_FALSE(slot_.Apply(Off()).removal_permitted);
}

TEST_F(HotPlugSlotTest, ARequestDoesNotOutliveAReset) {
  Occupy();
  ASSERT_THAT(slot_.RequestRemoval(), IsOk());
  slot_.Reset(On());
  EXPECT_FALSE(slot_.removal_pending());
  EXPECT_FALSE(slot_.Apply(Off()).removal_permitted);
}

TEST_F(HotPlugSlotTest, AFaultCutsThePowerUntilTheGuestTurnsItOff) {
  Occupy();
  EXPECT_EQ(slot_.FailPower(),
            (Changes{.events = {kFault | kLink}, .link_went_down = true}));
  EXPECT_EQ(slot_.FailPower(), Changes());
  EXPECT_EQ(slot_.Apply(On()), Changes()) << "the fault is latched";
  EXPECT_EQ(slot_.Apply(Off()), Changes());
  EXPECT_EQ(slot_.FinishReset(), Changes());
  EXPECT_TRUE(slot_.Apply(On()).link_went_up);
}

TEST_F(HotPlugSlotTest, APowerFaultGoesWithTheCard) {
  Occupy();
  slot_.FailPower();
  slot_.FinishReset();
  slot_.Remove();
  EXPECT_TRUE(slot_.Insert().link_went_up);
}

}  // namespace
}  // namespace passthru::root_port
