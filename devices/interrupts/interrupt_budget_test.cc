// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/interrupt_budget.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Reservation = InterruptBudget::Reservation;

void TakeAll(Reservation& share, int count) {
  for (int i = 0; i < count; ++i) ASSERT_THAT(share.Take(), IsOk()) << i;
}

TEST(InterruptBudgetTest, WithoutLimitsEverythingIsGranted) {
  InterruptBudget budget({});
  absl::StatusOr<Reservation> share = budget.Reserve(2048);
  ASSERT_THAT(share, IsOk());
  EXPECT_EQ(share->vectors(), 2048u);
  EXPECT_EQ(share->limited_by(), "");
  TakeAll(*share, 2048);
}

TEST(InterruptBudgetTest, AShareOfNoBudgetLimitsNothing) {
  Reservation share;
  TakeAll(share, 10);
  share.Return(10);
}

// A device that uses nothing leaves the others what it does not count on.
TEST(InterruptBudgetTest, AttachingCostsOnlyTheGuarantee) {
  InterruptBudget budget({.event_fds = 768});
  const absl::StatusOr<Reservation> first = budget.Reserve(1024);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->vectors(), 768u);
  EXPECT_EQ(first->limited_by(), "eventfds");
  const absl::StatusOr<Reservation> second = budget.Reserve(1024);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->vectors(), 768u - 16u);
  EXPECT_EQ(budget.Reserve(129)->vectors(), 129u);
}

TEST(InterruptBudgetTest, ScarceHostVectorsMeanASmallerTable) {
  InterruptBudget budget({.host_vectors = 100});
  absl::StatusOr<Reservation> first = budget.Reserve(64);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->vectors(), 64u);
  TakeAll(*first, 64);
  const absl::StatusOr<Reservation> second = budget.Reserve(64);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->vectors(), 36u);
  EXPECT_EQ(second->limited_by(), "host vectors");
}

TEST(InterruptBudgetTest, TheScarcerLimitRules) {
  InterruptBudget budget({.host_vectors = 100, .event_fds = 10});
  const absl::StatusOr<Reservation> share = budget.Reserve(64);
  ASSERT_THAT(share, IsOk());
  EXPECT_EQ(share->vectors(), 10u);
  EXPECT_EQ(share->limited_by(), "eventfds");
}

TEST(InterruptBudgetTest, NothingLeftNamesWhatIsMissingAndWhatToDo) {
  InterruptBudget budget({.event_fds = 8});
  const absl::StatusOr<Reservation> all = budget.Reserve(8);
  ASSERT_THAT(all, IsOk());
  EXPECT_THAT(budget.Reserve(1), StatusIs(absl::StatusCode::kResourceExhausted,
                                          AllOf(HasSubstr("no eventfds left"),
                                                HasSubstr("guaranteed 8"),
                                                HasSubstr("RLIMIT_NOFILE"))));
}

TEST(InterruptBudgetTest, AGuaranteeCannotBeTakenByAnother) {
  InterruptBudget budget({.event_fds = 10, .guaranteed = 4});
  absl::StatusOr<Reservation> a = budget.Reserve(10);
  absl::StatusOr<Reservation> b = budget.Reserve(10);
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  TakeAll(*a, 6);
  EXPECT_THAT(a->Take(), StatusIs(absl::StatusCode::kResourceExhausted,
                                  HasSubstr("this one uses 6")));
  TakeAll(*b, 4);
  EXPECT_THAT(b->Take(), StatusIs(absl::StatusCode::kResourceExhausted));
  a->Return(1);
  TakeAll(*b, 1);
  EXPECT_THAT(a->Take(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(InterruptBudgetTest, AShareIsGivenBackOnce) {
  InterruptBudget budget({.host_vectors = 8});
  {
    absl::StatusOr<Reservation> first = budget.Reserve(8);
    ASSERT_THAT(first, IsOk());
    TakeAll(*first, 3);
    const Reservation moved = *std::move(first);
    EXPECT_EQ(moved.vectors(), 8u);
  }
  const absl::StatusOr<Reservation> again = budget.Reserve(16);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->vectors(), 8u);
}

TEST(InterruptBudgetTest, AssignmentGivesTheOldShareBack) {
  InterruptBudget budget({.host_vectors = 8});
  absl::StatusOr<Reservation> a = budget.Reserve(3);
  absl::StatusOr<Reservation> b = budget.Reserve(5);
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  *a = *std::move(b);
  EXPECT_EQ(a->vectors(), 5u);
  const absl::StatusOr<Reservation> c = budget.Reserve(8);
  ASSERT_THAT(c, IsOk());
  EXPECT_EQ(c->vectors(), 3u);
}

}  // namespace
}  // namespace passthru::interrupts
