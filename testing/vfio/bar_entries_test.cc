// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/bar_entries.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;
constexpr uint64_t kAt = 0x7f00'0000'0000;

TEST(BarEntriesTest, EqualModuloOneGiB) {
  EXPECT_EQ(CountEntries(kAt, kGiB, 256 * kGiB, true),
            (BarEntries{.of_1_gib = 256}));
}

TEST(BarEntriesTest, EqualModuloTwoMiBOnly) {
  EXPECT_EQ(CountEntries(kAt + 2 * kMiB, 0, 2 * kGiB, true),
            (BarEntries{.of_2_mib = 1024}));
}

TEST(BarEntriesTest, EqualModuloAPageOnly) {
  EXPECT_EQ(CountEntries(kAt + 4 * kKiB, 0, kGiB, true),
            (BarEntries{.of_4_kib = 262144}));
}

TEST(BarEntriesTest, EndsThatAreNotWholeEntriesTakeSmallerOnes) {
  EXPECT_EQ(CountEntries(kAt + kGiB - 8 * kKiB, kGiB - 8 * kKiB,
                         kGiB + 2 * kMiB + 12 * kKiB, true),
            (BarEntries{.of_4_kib = 2 + 1, .of_2_mib = 1, .of_1_gib = 1}));
}

TEST(BarEntriesTest, OlderKernelsHaveOnlySmallOnes) {
  EXPECT_EQ(CountEntries(kAt, 0, 4 * kMiB, false),
            (BarEntries{.of_4_kib = 1024}));
}

}  // namespace
}  // namespace passthru::fake
