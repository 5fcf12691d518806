// SPDX-License-Identifier: Apache-2.0
//
// Counts the kernel calls of an MSI-X bring-up, in which the guest does what
// Linux's msix_capability_init() and request_irq() do. For comparison, the
// tests repeat it with a router that commits each route when it is staged. That
// is the usual policy of VMMs, and makes N vectors copy N (N + 1) / 2 entries.

#include <cmath>
#include <cstdint>
#include <iostream>
#include <memory>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::interrupts {
namespace {

constexpr uint32_t kBaseRoutes = 40;

pci::MsiMessage Message(uint32_t vector, uint32_t destination) {
  return {.address = 0xfee00000 | destination << 12,
          .data = 0x4000 | (32 + vector % 200)};
}

// Commits each message when it is staged.
class EagerRouter final : public MsiRouter {
 public:
  explicit EagerRouter(GsiRouter* router) : router_(router) {}

  absl::StatusOr<allocator::Gsi> Allocate() override {
    return router_->Allocate();
  }
  void Release(allocator::Gsi gsi) override { router_->Release(gsi); }
  absl::Status Stage(allocator::Gsi gsi,
                     const pci::MsiMessage& message) override {
    absl::Status status = router_->Stage(gsi, message);
    status.Update(router_->Commit());
    return status;
  }
  bool IsCommitted(allocator::Gsi gsi,
                   const pci::MsiMessage& message) const override {
    return router_->IsCommitted(gsi, message);
  }
  absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi gsi) override {
    return router_->OnUserSpaceDelivery(gsi);
  }
  absl::Status Commit() override { return router_->Commit(); }

 private:
  GsiRouter* const router_;
};

// A device of `n` vectors, the VM's interrupts, and the guest's bring-up.
class Scenario {
 public:
  Scenario(uint16_t n, bool eager)
      : n_(n),
        rig_({.vectors = n, .check_invariants = false}),
        loop_(*kernel::EpollEventLoop::Create(rig_.syscalls())),
        router_(*GsiRouter::Create(
            {.table = &rig_, .base_routes = DefaultIrqchipRoutes()})),
        eager_router_(router_.get()),
        group_(MsixVectorGroup::Options{
            .vectors = n,
            .syscalls = rig_.syscalls(),
            .host = &rig_,
            .router =
                eager ? static_cast<MsiRouter*>(&eager_router_) : router_.get(),
            .controller = &rig_,
            .loop = loop_.get(),
            .failures = &failures_,
            .name = "cost"}) {}

  uint16_t n() const { return n_; }
  double log_n() const { return std::log2(n()); }

  const GsiRouter& router() const { return *router_; }

  void Set(uint16_t vector, uint32_t destination, bool masked) {
    group_.SetVector(pci::VectorIndex(vector), Message(vector, destination),
                     masked);
  }

  // Performs steps A to D, which enable MSI-X with the function masked, program
  // all entries while each is masked, and unmask the function.
  void Program() {
    CHECK_OK(group_.Enable(n(), /*function_masked=*/true));
    for (uint16_t i = 0; i < n(); ++i) Set(i, 0, /*masked=*/true);
    group_.SetFunctionMask(false);
  }
  // Performs step E for one vector. On x86 the guest writes the message once
  // more, for the CPU that will serve the vector, and then unmasks the vector.
  void RequestIrq(uint16_t vector) {
    Set(vector, 1, /*masked=*/true);
    Set(vector, 1, /*masked=*/false);
  }
  void Fire(uint16_t vector) {
    CHECK(rig_.Fire(vector));
    for (;;) {
      const absl::StatusOr<int> ran = loop_->RunOnce(0);
      CHECK_OK(ran);
      if (*ran == 0) return;
    }
  }

  // Requests all vectors, and then makes each interrupt twice.
  void RunUsualCase() {
    Program();
    for (uint16_t i = 0; i < n(); ++i) RequestIrq(i);
    for (int round = 0; round < 2; ++round) {
      for (uint16_t i = 0; i < n(); ++i) Fire(i);
    }
    CHECK_EQ(rig_.delivered(), 2u * n());
  }
  // Returns how many calls for interrupts the kernel has received.
  uint64_t calls() const {
    const MsixVectorGroupStats group = group_.stats();
    return router_->stats().routing_calls + group.set_irqs_calls +
           group.irqfd_assigns + group.irqfd_deassigns +
           group.user_space_signals;
  }

 protected:
  const uint16_t n_;
  kernel::FailureLog failures_{"device"};
  fake::InterruptRig rig_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<GsiRouter> router_;
  EagerRouter eager_router_;
  MsixVectorGroup group_;
};

class BringUpCost : public Scenario, public ::testing::TestWithParam<uint16_t> {
 protected:
  BringUpCost() : Scenario(GetParam(), /*eager=*/false) {}
};

// In the usual case the guest requests all vectors before the first interrupt.
TEST_P(BringUpCost, OneRoutingCallWhenAllAreUnmaskedFirst) {
  Program();
  EXPECT_EQ(rig_.host_calls(), 2);
  for (uint16_t i = 0; i < n(); ++i) RequestIrq(i);
  EXPECT_EQ(rig_.host_calls(), 2);
  EXPECT_EQ(router_->stats().routing_calls, 0u);
  EXPECT_EQ(group_.stats().irqfd_assigns, 0u);

  for (uint16_t i = 0; i < n(); ++i) Fire(i);
  const GsiRouterStats router = router_->stats();
  EXPECT_EQ(router.routing_calls, 1u);
  EXPECT_EQ(router.entries_copied, uint64_t{n()} + kBaseRoutes);
  EXPECT_EQ(group_.stats().irqfd_assigns, n());
  EXPECT_EQ(group_.stats().irqfd_deassigns, 0u);
  // User space delivers only the first interrupt of each vector.
  for (uint16_t i = 0; i < n(); ++i) Fire(i);
  EXPECT_EQ(group_.stats().user_space_signals, n());
  EXPECT_EQ(rig_.delivered(), 2u * n());
  EXPECT_EQ(rig_.lost(), 0u);
}

// In the worst case each vector interrupts before the guest requests the next.
TEST_P(BringUpCost, LogarithmicWhenVectorsFireOneByOne) {
  Program();
  for (uint16_t i = 0; i < n(); ++i) {
    RequestIrq(i);
    Fire(i);
  }
  const GsiRouterStats router = router_->stats();
  EXPECT_LE(router.routing_calls, log_n() + 1);
  EXPECT_LE(router.entries_copied,
            2u * n() + kBaseRoutes * router.routing_calls);
  EXPECT_EQ(rig_.host_calls(), 2);
  EXPECT_EQ(rig_.delivered(), n());
  EXPECT_EQ(rig_.lost(), 0u);
}

// As above, but every vector is busy, so user space must not deliver any for
// long.
TEST_P(BringUpCost, BusyVectorsAreAllPromoted) {
  constexpr int kInterrupts = 8;
  Program();
  for (uint16_t i = 0; i < n(); ++i) {
    RequestIrq(i);
    for (int j = 0; j < kInterrupts; ++j) Fire(i);
  }
  const uint64_t deliveries = uint64_t{n()} * kInterrupts;
  const GsiRouterStats router = router_->stats();
  // Deliveries outweigh what the commits copied beyond the doubling.
  EXPECT_LE(router.entries_copied, 2u * n() + kBaseRoutes * (log_n() + 1) +
                                       GsiRouter::kEntriesPerDelivery *
                                           group_.stats().user_space_signals);
  EXPECT_EQ(rig_.delivered(), deliveries);
  EXPECT_EQ(rig_.lost(), 0u);
}

// The guest does not use the function mask, and programs an entry only when it
// unmasks it.
TEST_P(BringUpCost, ArmingIsLogarithmicForVectorsUnmaskedOneByOne) {
  CHECK_OK(group_.Enable(n(), /*function_masked=*/false));
  for (uint16_t i = 0; i < n(); ++i) RequestIrq(i);
  EXPECT_LE(rig_.host_calls(), log_n() + 2);
  EXPECT_LE(rig_.allocated(), n());
}

TEST_P(BringUpCost, ArmingIsLogarithmicInDescendingOrderToo) {
  CHECK_OK(group_.Enable(n(), /*function_masked=*/false));
  for (uint16_t i = n(); i > 0; --i) RequestIrq(static_cast<uint16_t>(i - 1));
  EXPECT_LE(rig_.host_calls(), log_n() + 2);
  EXPECT_LE(rig_.allocated(), n());
}

// Each toggle of the function mask tries again, but not for each vector.
TEST_P(BringUpCost, VectorsThatCannotBeArmedCostAFewCallsPerToggle) {
  rig_.LimitVectors(1);
  CHECK_OK(group_.Enable(n(), /*function_masked=*/true));
  for (uint16_t i = 0; i < n(); ++i) Set(i, 1, /*masked=*/false);
  group_.SetFunctionMask(false);
  for (int toggle = 0; toggle < 3; ++toggle) {
    const int before = rig_.host_calls();
    group_.SetFunctionMask(true);
    group_.SetFunctionMask(false);
    EXPECT_LE(rig_.host_calls() - before, log_n() + 2);
  }
}

// The armed blocks hold at most twice as many vectors as the guest uses.
TEST_P(BringUpCost, AQuarterUnmaskedOneByOneArmsAtMostHalf) {
  CHECK_OK(group_.Enable(n(), /*function_masked=*/false));
  for (uint16_t i = 0; i < n() / 4; ++i) RequestIrq(i);
  EXPECT_LE(rig_.allocated(), n() / 2u);
}

// An affinity change in the steady state is a mask, three message writes and an
// unmask.
TEST_P(BringUpCost, AnAffinityChangeIsOneIrqfdOffAndNoRoutingCall) {
  Program();
  for (uint16_t i = 0; i < n(); ++i) RequestIrq(i);
  for (uint16_t i = 0; i < n(); ++i) Fire(i);
  const MsixVectorGroupStats before = group_.stats();
  Set(0, 1, /*masked=*/true);
  for (uint32_t cpu = 2; cpu < 5; ++cpu) Set(0, cpu, /*masked=*/true);
  Set(0, 4, /*masked=*/false);
  EXPECT_EQ(group_.stats().irqfd_deassigns, before.irqfd_deassigns + 1);
  EXPECT_EQ(group_.stats().irqfd_assigns, before.irqfd_assigns);
  EXPECT_EQ(router_->stats().routing_calls, 1u);
  Fire(0);
  EXPECT_EQ(rig_.delivered(), n() + 1u);
}

INSTANTIATE_TEST_SUITE_P(Vectors, BringUpCost, ::testing::Values(8, 64, 2048));

class CommitPolicy : public ::testing::TestWithParam<uint16_t> {};

TEST_P(CommitPolicy, DeferredCopiesOneTableWhereEagerCopiesOneAVector) {
  const uint64_t n = GetParam();
  Scenario eager(GetParam(), /*eager=*/true);
  Scenario deferred(GetParam(), /*eager=*/false);
  eager.RunUsualCase();
  deferred.RunUsualCase();
  const GsiRouterStats each = eager.router().stats();
  const GsiRouterStats once = deferred.router().stats();
  EXPECT_EQ(each.routing_calls, n);
  EXPECT_EQ(each.entries_copied, n * kBaseRoutes + n * (n + 1) / 2);
  EXPECT_EQ(once.routing_calls, 1u);
  EXPECT_EQ(once.entries_copied, n + kBaseRoutes);
  // One delivery from user space per vector replaces the routing calls.
  EXPECT_EQ(deferred.calls(), eager.calls() + 1);
  std::cout << absl::StreamFormat(
      "COUNT: %u route entries copied to bring %u MSI-X vectors up (%u with a "
      "commit for each vector)\n",
      once.entries_copied, n, each.entries_copied);
}

INSTANTIATE_TEST_SUITE_P(Vectors, CommitPolicy, ::testing::Values(8, 64, 256));

}  // namespace
}  // namespace passthru::interrupts
