// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/interrupt_costs.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/vmm/benchmark/interrupt_table.h"

namespace passthru::benchmark {
namespace {

class InterruptCostsTest : public ::testing::TestWithParam<uint16_t> {};

TEST_P(InterruptCostsTest, EachTraceCostsNoMoreThanItsGoal) {
  const uint64_t n = GetParam();
  for (const Trace trace : kAllTraces) {
    SCOPED_TRACE(static_cast<int>(trace));
    const InterruptCosts costs = CountBringUp(GetParam(), trace);
    EXPECT_LE(costs.calls(), Goal(GetParam(), trace));
    EXPECT_LE(costs.largest_table, 2 * n + 40);
    EXPECT_LE(costs.entries, (2 * n + 40) * costs.set_gsi_routing);
    // User space delivers a vector's interrupt at most once, and reads its
    // eventfd only for that.
    EXPECT_LE(costs.signal_msi, trace == Trace::kNoneFires ? 0 : n);
    EXPECT_EQ(costs.eventfd_reads, costs.signal_msi);
  }
}

// The deliveries from user space are extra, at most one for each vector.
TEST_P(InterruptCostsTest, EachTraceArmsAndRoutesWithFewerCallsThanOthers) {
  for (const Trace trace : kAllTraces) {
    const InterruptCosts costs = CountBringUp(GetParam(), trace);
    for (const PeerCosts& peer : PeersBringUp(GetParam())) {
      SCOPED_TRACE(peer.name);
      EXPECT_LT(costs.calls(), peer.calls());
      EXPECT_LT(costs.entries, peer.entries);
    }
  }
}

TEST(InterruptTableTest, TheReadmeShowsIt) {
  EXPECT_TRUE(fake::PageShows("README.md", InterruptTable(64)));
}

INSTANTIATE_TEST_SUITE_P(Vectors, InterruptCostsTest,
                         ::testing::Values(8, 64, 2048));

}  // namespace
}  // namespace passthru::benchmark
