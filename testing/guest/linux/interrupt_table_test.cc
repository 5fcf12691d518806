// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/interrupt_table.h"

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/direct/direct_machine.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr GuestMessage kFirst{0xfee00000, 0x30};
constexpr GuestMessage kSecond{0xfee00000, 0x31};
// The same vector at another processor's address.
constexpr GuestMessage kElsewhere{0xfee01000, 0x30};

class InterruptTableTest : public ::testing::Test {
 protected:
  DirectMachine machine_;
  InterruptTable table_{&machine_};
};

TEST_F(InterruptTableTest, HandlersRunUntilTheConditionHolds) {
  int first = 0;
  int second = 0;
  ASSERT_THAT(table_.Register(kFirst, "first", [&] { ++first; }), IsOk());
  ASSERT_THAT(table_.Register(kSecond, "second", [&] { ++second; }), IsOk());
  machine_.Inject(kFirst);
  machine_.Inject(kSecond);
  machine_.Inject(kSecond);
  EXPECT_THAT(table_.WaitUntil("second", [&] { return second == 1; }), IsOk());
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(table_.count(kSecond), 1u);
  EXPECT_THAT(table_.WaitUntil("again", [&] { return second == 2; }), IsOk());
  EXPECT_EQ(table_.lines()[1].name, "second");
  EXPECT_EQ(table_.lines()[1].count, 2u);
}

TEST_F(InterruptTableTest, AConditionThatHoldsAlreadyStillNeedsAnInterrupt) {
  EXPECT_THAT(table_.WaitUntil("nothing", [] { return true; }),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       HasSubstr("waiting for nothing")));
}

TEST_F(InterruptTableTest, AddressAndDataBothCount) {
  int handled = 0;
  ASSERT_THAT(table_.Register(kFirst, "first", [&] { ++handled; }), IsOk());
  machine_.Inject(kElsewhere);
  machine_.Inject(kFirst);
  EXPECT_THAT(table_.WaitUntil("first", [&] { return handled == 1; }), IsOk());
  EXPECT_THAT(table_.unexpected(), ElementsAre(kElsewhere));
}

TEST_F(InterruptTableTest, AMessageHasOneHandler) {
  ASSERT_THAT(table_.Register(kFirst, "first", [] {}), IsOk());
  EXPECT_THAT(table_.Register(kFirst, "other", [] {}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("first")));
}

TEST_F(InterruptTableTest, UnregisteredMessagesAreUnexpected) {
  ASSERT_THAT(table_.Register(kFirst, "first", [] {}), IsOk());
  table_.Unregister(kFirst);
  machine_.Inject(kFirst);
  EXPECT_FALSE(table_.WaitUntil("it", [] { return false; }).ok());
  EXPECT_THAT(table_.unexpected(), ElementsAre(kFirst));
  EXPECT_THAT(table_.Register(kFirst, "again", [] {}), IsOk());
}

TEST_F(InterruptTableTest, AHandlerMayUnregisterItself) {
  int handled = 0;
  ASSERT_THAT(table_.Register(kFirst, "once",
                              [&] {
                                ++handled;
                                table_.Unregister(kFirst);
                              }),
              IsOk());
  machine_.Inject(kFirst);
  machine_.Inject(kFirst);
  EXPECT_FALSE(table_.WaitUntil("twice", [&] { return handled == 2; }).ok());
  EXPECT_EQ(handled, 1);
}

}  // namespace
}  // namespace passthru::guest
