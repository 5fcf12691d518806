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
using ::testing::HasSubstr;

using Reservation = InterruptBudget::Reservation;

TEST(InterruptBudgetTest, WithoutLimitsEverythingIsGranted) {
  InterruptBudget budget({});
  const absl::StatusOr<Reservation> reservation = budget.Reserve(2048);
  ASSERT_THAT(reservation, IsOk());
  EXPECT_EQ(reservation->vectors(), 2048u);
  EXPECT_EQ(reservation->routed(), 2048u);
  EXPECT_EQ(reservation->limited_by(), "");
}

TEST(InterruptBudgetTest, ScarceHostVectorsMeanASmallerTable) {
  InterruptBudget budget({.host_vectors = 100});
  const absl::StatusOr<Reservation> first = budget.Reserve(64);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->vectors(), 64u);
  const absl::StatusOr<Reservation> second = budget.Reserve(64);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->vectors(), 36u);
  EXPECT_EQ(second->limited_by(), "host vectors");
}

TEST(InterruptBudgetTest, ScarceDescriptorsMeanASmallerTable) {
  InterruptBudget budget({.host_vectors = 100, .event_fds = 10});
  const absl::StatusOr<Reservation> reservation = budget.Reserve(64);
  ASSERT_THAT(reservation, IsOk());
  EXPECT_EQ(reservation->vectors(), 10u);
  EXPECT_EQ(reservation->limited_by(), "eventfds");
}

TEST(InterruptBudgetTest, ScarceRoutesMeanDeliveryFromUserSpace) {
  InterruptBudget budget({.routes = 10});
  const absl::StatusOr<Reservation> reservation = budget.Reserve(64);
  ASSERT_THAT(reservation, IsOk());
  EXPECT_EQ(reservation->vectors(), 64u);
  EXPECT_EQ(reservation->routed(), 10u);
  EXPECT_EQ(reservation->limited_by(), "routes");
}

TEST(InterruptBudgetTest, NothingLeftNamesWhatIsMissing) {
  InterruptBudget budget({.event_fds = 8});
  const absl::StatusOr<Reservation> all = budget.Reserve(8);
  ASSERT_THAT(all, IsOk());
  EXPECT_THAT(budget.Reserve(1), StatusIs(absl::StatusCode::kResourceExhausted,
                                          HasSubstr("no eventfds left")));
}

TEST(InterruptBudgetTest, AReservationIsGivenBackOnce) {
  InterruptBudget budget({.host_vectors = 8, .routes = 8});
  {
    absl::StatusOr<Reservation> first = budget.Reserve(8);
    ASSERT_THAT(first, IsOk());
    const Reservation moved = *std::move(first);
    EXPECT_EQ(moved.vectors(), 8u);
  }
  const absl::StatusOr<Reservation> again = budget.Reserve(16);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->vectors(), 8u);
  EXPECT_EQ(again->routed(), 8u);
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

TEST(InterruptBudgetTest, CostIsPerVector) {
  InterruptBudget budget({.event_fds = 9, .cost = {.event_fds = 2}});
  const absl::StatusOr<Reservation> reservation = budget.Reserve(64);
  ASSERT_THAT(reservation, IsOk());
  EXPECT_EQ(reservation->vectors(), 4u);
}

}  // namespace
}  // namespace passthru::interrupts
