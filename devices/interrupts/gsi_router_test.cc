// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/gsi_router.h"

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kDefaultRoutes = 40;

pci::MsiMessage Message(uint32_t data) {
  return {.address = 0xfee01000, .data = 0x4000 | (32 + data % 200)};
}

class GsiRouterTest : public ::testing::Test {
 protected:
  GsiRouterTest() {
    Create({.table = &rig_, .base_routes = DefaultIrqchipRoutes()});
  }

  void Create(GsiRouter::Options options) {
    absl::StatusOr<std::unique_ptr<GsiRouter>> router =
        GsiRouter::Create(std::move(options));
    ASSERT_THAT(router, IsOk());
    router_ = *std::move(router);
  }

  allocator::Gsi Staged(const pci::MsiMessage& message) {
    const absl::StatusOr<allocator::Gsi> gsi = router_->Allocate();
    EXPECT_THAT(gsi, IsOk());
    EXPECT_THAT(router_->Stage(*gsi, message), IsOk());
    return *gsi;
  }

  fake::CallLog log_;
  fake::InterruptRig rig_{{.log = &log_}};
  std::unique_ptr<GsiRouter> router_;
};

TEST_F(GsiRouterTest, StagingMakesNoSystemCall) {
  const allocator::Gsi gsi = Staged(Message(1));
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_FALSE(router_->IsCommitted(gsi, Message(1)));
  EXPECT_EQ(router_->stats().uncommitted, 1u);
}

TEST_F(GsiRouterTest, OneCommitCarriesAllStagedAndTheDefaultRoutes) {
  const allocator::Gsi a = Staged(Message(1));
  const allocator::Gsi b = Staged(Message(2));
  ASSERT_THAT(router_->Commit(), IsOk());

  EXPECT_THAT(log_, ElementsAre("route 42"));
  EXPECT_TRUE(router_->IsCommitted(a, Message(1)));
  EXPECT_TRUE(router_->IsCommitted(b, Message(2)));
  EXPECT_FALSE(router_->IsCommitted(b, Message(1)));
  const std::vector<kvm_irq_routing_entry> table = rig_.table();
  ASSERT_THAT(table, SizeIs(kDefaultRoutes + 2));
  EXPECT_EQ(table[0].type, KVM_IRQ_ROUTING_IRQCHIP);
  EXPECT_EQ(table[40].type, KVM_IRQ_ROUTING_MSI);
  EXPECT_EQ(table[40].gsi, a.value());
  EXPECT_EQ(table[40].u.msi.address_lo, 0xfee01000u);
  EXPECT_EQ(table[40].u.msi.data, Message(1).data);
}

TEST_F(GsiRouterTest, HighAddressBitsReachTheKernel) {
  const pci::MsiMessage message = {.address = 0x1200fee01000, .data = 0x30};
  Staged(message);
  ASSERT_THAT(router_->Commit(), IsOk());
  EXPECT_EQ(rig_.table().back().u.msi.address_hi, 0x1200u);
}

TEST_F(GsiRouterTest, CommitOfNothingNewMakesNoCall) {
  EXPECT_THAT(router_->Commit(), IsOk());
  Staged(Message(1));
  EXPECT_THAT(router_->Commit(), IsOk());
  EXPECT_THAT(router_->Commit(), IsOk());
  EXPECT_THAT(log_, ElementsAre("route 41"));
}

TEST_F(GsiRouterTest, TheSameMessageStagedAgainStaysCommitted) {
  const allocator::Gsi gsi = Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  ASSERT_THAT(router_->Stage(gsi, Message(1)), IsOk());
  EXPECT_TRUE(router_->IsCommitted(gsi, Message(1)));
  EXPECT_EQ(router_->stats().uncommitted, 0u);
}

TEST_F(GsiRouterTest, AChangedMessageIsUncommittedUntilTheNextCommit) {
  const allocator::Gsi gsi = Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  ASSERT_THAT(router_->Stage(gsi, Message(2)), IsOk());
  EXPECT_FALSE(router_->IsCommitted(gsi, Message(2)));
  EXPECT_TRUE(router_->IsCommitted(gsi, Message(1)));
  EXPECT_EQ(rig_.table().back().u.msi.data, Message(1).data);
}

TEST_F(GsiRouterTest, ABadMessageIsNotStagedAndSpoilsNothing) {
  const allocator::Gsi good = Staged(Message(1));
  const absl::StatusOr<allocator::Gsi> bad = router_->Allocate();
  ASSERT_THAT(bad, IsOk());
  EXPECT_THAT(router_->Stage(*bad, {.address = 0x1000, .data = 0x40}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(router_->Commit(), IsOk());
  EXPECT_TRUE(router_->IsCommitted(good, Message(1)));
  EXPECT_THAT(rig_.table(), SizeIs(kDefaultRoutes + 1));
  EXPECT_EQ(router_->stats().refused_messages, 1u);
}

TEST_F(GsiRouterTest, AFailedCommitKeepsTheOldTableAndSaysSo) {
  const allocator::Gsi a = Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  const allocator::Gsi b = Staged(Message(2));
  rig_.FailRouting(1, ENOMEM);

  const absl::Status status = router_->Commit();
  EXPECT_EQ(kernel::ErrnoOf(status), ENOMEM);
  EXPECT_THAT(status.message(), HasSubstr("committing 42 entries"));
  EXPECT_TRUE(router_->IsCommitted(a, Message(1)));
  EXPECT_FALSE(router_->IsCommitted(b, Message(2)));
  EXPECT_EQ(router_->stats().failed_commits, 1u);

  EXPECT_THAT(router_->Commit(), IsOk());
  EXPECT_TRUE(router_->IsCommitted(b, Message(2)));
}

TEST_F(GsiRouterTest, RoutesAreThoseThatHaveAnOwner) {
  const allocator::Gsi a = Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  const allocator::Gsi b = Staged(Message(2));
  const absl::StatusOr<allocator::Gsi> c = router_->Allocate();
  ASSERT_THAT(c, IsOk());
  EXPECT_THAT(
      router_->Routes(),
      ::testing::ElementsAre(
          GsiRouteReport{.gsi = a, .message = Message(1), .committed = true},
          GsiRouteReport{.gsi = b, .message = Message(2)},
          GsiRouteReport{.gsi = *c}));
  router_->Release(a);
  EXPECT_THAT(router_->Routes(), SizeIs(2));
}

TEST_F(GsiRouterTest, AReleasedRouteLeavesTheTableWithTheNextCommit) {
  const allocator::Gsi a = Staged(Message(1));
  const allocator::Gsi b = Staged(Message(2));
  ASSERT_THAT(router_->Commit(), IsOk());
  router_->Release(a);
  EXPECT_FALSE(router_->IsCommitted(a, Message(1)));
  EXPECT_THAT(rig_.table(), SizeIs(kDefaultRoutes + 2));
  ASSERT_THAT(router_->Commit(), IsOk());
  EXPECT_THAT(rig_.table(), SizeIs(kDefaultRoutes + 1));
  router_->Release(b);
  ASSERT_THAT(router_->Commit(), IsOk());
  EXPECT_THAT(rig_.table(), SizeIs(kDefaultRoutes));
  EXPECT_EQ(router_->stats().table_size, kDefaultRoutes);
}

TEST_F(GsiRouterTest, AReusedGsiIsCommittedOnlyIfItsMessageIsTheOldOne) {
  const allocator::Gsi old = Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  router_->Release(old);
  const absl::StatusOr<allocator::Gsi> reused = router_->Allocate();
  ASSERT_THAT(reused, IsOkAndHolds(old));
  EXPECT_FALSE(router_->IsCommitted(*reused, Message(2)));
  ASSERT_THAT(router_->Stage(*reused, Message(2)), IsOk());
  EXPECT_FALSE(router_->IsCommitted(*reused, Message(2)));
  ASSERT_THAT(router_->Stage(*reused, Message(1)), IsOk());
  EXPECT_TRUE(router_->IsCommitted(*reused, Message(1)));
  EXPECT_EQ(router_->stats().uncommitted, 0u);
}

TEST_F(GsiRouterTest, AnAllocatedRouteWithoutAMessageIsNotInTheTable) {
  ASSERT_THAT(router_->Allocate(), IsOk());
  Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  EXPECT_THAT(rig_.table(), SizeIs(kDefaultRoutes + 1));
}

TEST_F(GsiRouterTest, TheLimitCountsTheDefaultRoutes) {
  Create({.table = &rig_,
          .base_routes = DefaultIrqchipRoutes(),
          .max_entries = kDefaultRoutes + 2});
  EXPECT_EQ(router_->available(), 2u);
  ASSERT_THAT(router_->Allocate(), IsOk());
  const absl::StatusOr<allocator::Gsi> second = router_->Allocate();
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(router_->Allocate(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("2 MSI routes and 40 others of at most 42")));
  EXPECT_EQ(router_->stats().refused_routes, 1u);
  router_->Release(*second);
  EXPECT_THAT(router_->Allocate(), IsOk());
}

TEST_F(GsiRouterTest, AdoptsAnotherTablesRoutes) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = 3;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
  Create({.table = &rig_, .base_routes = {entry}});
  Staged(Message(1));
  ASSERT_THAT(router_->Commit(), IsOk());
  ASSERT_THAT(rig_.table(), SizeIs(2));
  EXPECT_EQ(rig_.table()[0].gsi, 3u);
}

TEST_F(GsiRouterTest, RefusesABaseRouteAmongTheMsiGsis) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = 24;
  EXPECT_THAT(GsiRouter::Create({.table = &rig_, .base_routes = {entry}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(GsiRouterTest, RefusesATableThatTheBaseRoutesFill) {
  EXPECT_THAT(GsiRouter::Create({.table = &rig_,
                                 .base_routes = DefaultIrqchipRoutes(),
                                 .max_entries = kDefaultRoutes}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(GsiRouterTest, RefusesAFirstGsiBeyondTheLimit) {
  EXPECT_THAT(GsiRouter::Create({.table = &rig_,
                                 .base_routes = {},
                                 .first_gsi = allocator::Gsi(64),
                                 .max_entries = 64}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(GsiRouterTest, TheFirstDeliveryCommitsAllThatIsStaged) {
  const allocator::Gsi a = Staged(Message(1));
  const allocator::Gsi b = Staged(Message(2));
  EXPECT_THAT(router_->OnUserSpaceDelivery(a), IsOkAndHolds(true));
  EXPECT_THAT(log_, ElementsAre("route 42"));
  EXPECT_THAT(router_->OnUserSpaceDelivery(b), IsOkAndHolds(true));
  EXPECT_THAT(log_, SizeIs(1));
}

TEST_F(GsiRouterTest, OneChangedMessageInALargeTableWaitsUntilItPays) {
  std::vector<allocator::Gsi> gsis;
  for (uint32_t i = 0; i < 200; ++i) gsis.push_back(Staged(Message(i)));
  ASSERT_THAT(router_->Commit(), IsOk());
  ASSERT_THAT(router_->Stage(gsis[0], Message(7)), IsOk());

  int deliveries = 0;
  while (!router_->IsCommitted(gsis[0], Message(7)) && deliveries < 1000) {
    ASSERT_THAT(router_->OnUserSpaceDelivery(gsis[0]), IsOk());
    ++deliveries;
  }
  EXPECT_EQ(router_->stats().routing_calls, 2u);
  // The first delivery does not count. Later ones must outweigh 240 entries.
  EXPECT_EQ(deliveries, 1 + 240 / GsiRouter::kEntriesPerDelivery);
}

TEST_F(GsiRouterTest, VectorsThatFireOneByOneCostFewCallsAndEntries) {
  constexpr uint32_t kVectors = 2048;
  for (uint32_t i = 0; i < kVectors; ++i) {
    const allocator::Gsi gsi = Staged(Message(i));
    ASSERT_THAT(router_->OnUserSpaceDelivery(gsi), IsOk());
  }
  const GsiRouterStats stats = router_->stats();
  EXPECT_LE(stats.routing_calls, std::log2(kVectors) + 1);
  EXPECT_LE(stats.entries_copied,
            2 * kVectors + kDefaultRoutes * stats.routing_calls);
}

TEST_F(GsiRouterTest, FailingCommitsAreNotRetriedAtEveryDelivery) {
  constexpr uint32_t kVectors = 1024;
  rig_.FailRouting(1 << 20, ENOMEM);
  uint64_t failures = 0;
  for (uint32_t i = 0; i < kVectors; ++i) {
    const allocator::Gsi gsi = Staged(Message(i));
    if (!router_->OnUserSpaceDelivery(gsi).ok()) ++failures;
  }
  EXPECT_GE(failures, 1u);
  EXPECT_LE(failures, std::log2(kVectors) + 1);
  EXPECT_EQ(router_->stats().failed_commits, failures);
}

TEST_F(GsiRouterTest, DeliveryWithoutAMessageIsNotCommitted) {
  const absl::StatusOr<allocator::Gsi> gsi = router_->Allocate();
  ASSERT_THAT(gsi, IsOk());
  EXPECT_THAT(router_->OnUserSpaceDelivery(*gsi), IsOkAndHolds(false));
  EXPECT_THAT(log_, IsEmpty());
}

}  // namespace
}  // namespace passthru::interrupts
