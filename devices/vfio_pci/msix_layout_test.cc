// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/msix_layout.h"

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/msix_capability.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

using Sizes = std::array<uint64_t, 6>;

pci::MsixCapability MsixOf(uint16_t vectors, uint32_t table, uint32_t pba) {
  std::vector<uint8_t> config(256);
  config[0x40] = 0x11;
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(config), 0x42,
                                   static_cast<uint16_t>(vectors - 1));
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x44, table);
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x48, pba);
  absl::StatusOr<pci::MsixCapability> msix =
      pci::MsixCapability::Parse(config, 0x40);
  CHECK_OK(msix);
  return *msix;
}

TEST(PlanMsixTest, WhatIsSoundStaysWhereItIs) {
  const auto layout =
      PlanMsix(MsixOf(65, 0x2000, 0x3001), Sizes{0x4000, 0x4000});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.pba_bar(), pci::BarIndex(1));
  EXPECT_EQ(layout->shown.pba_offset(), 0x3000u);
  EXPECT_EQ(layout->max_vectors, 65u);
  EXPECT_EQ(layout->moved, "");
}

// Intel 660p and SSDs like it have 22 vectors at 0x2000 and the PBA at 0x2100.
TEST(PlanMsixTest, APbaInsideOfTheTableIsShownBehindIt) {
  const auto layout = PlanMsix(MsixOf(22, 0x2000, 0x2100), Sizes{0x4000});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.table_offset(), 0x2000u);
  EXPECT_EQ(layout->shown.pba_bar(), pci::BarIndex(0));
  EXPECT_EQ(layout->shown.pba_offset(), 0x2160u);
  EXPECT_EQ(layout->max_vectors, 22u);
  EXPECT_THAT(layout->moved, HasSubstr("overlap"));
  EXPECT_THAT(layout->moved, HasSubstr("behind its table, at BAR0+0x2160"));
}

// The virtual functions of Chelsio T5 have a BAR of 8 KiB and name 0x8000.
TEST(PlanMsixTest, APbaOutsideOfItsBarIsShownBehindTheTable) {
  const auto layout =
      PlanMsix(MsixOf(9, 4, 0x8004), Sizes{0x4000, 0, 0x10000, 0, 0x2000, 0});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.pba_bar(), pci::BarIndex(4));
  EXPECT_EQ(layout->shown.pba_offset(), 0x90u);
  EXPECT_THAT(layout->moved, HasSubstr("PBA at BAR4+0x8000"));
}

TEST(PlanMsixTest, APbaInABarThatIsNotThereIsShownWithTheTable) {
  const auto layout = PlanMsix(MsixOf(4, 0x100, 5), Sizes{0x1000});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.pba_bar(), pci::BarIndex(0));
  EXPECT_EQ(layout->shown.pba_offset(), 0x140u);
}

TEST(PlanMsixTest, ATableThatEndsItsPageHasThePbaInFront) {
  const auto layout = PlanMsix(MsixOf(4, 0x1fc0, 0x8000), Sizes{0x4000});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.pba_offset(), 0x1fb8u);
  EXPECT_EQ(layout->max_vectors, 4u);
  EXPECT_THAT(layout->moved, HasSubstr("in front of its table"));
}

// Beyond the table's pages the device may have registers.
TEST(PlanMsixTest, ATableThatFillsItsPagesGivesUpVectors) {
  const auto layout = PlanMsix(MsixOf(256, 0x1000, 0x8000), Sizes{0x4000});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->shown.pba_offset(), 0x1fe0u);
  EXPECT_EQ(layout->max_vectors, 254u);
  EXPECT_THAT(layout->moved, HasSubstr("last entries"));
}

TEST(PlanMsixTest, ATableOutsideOfItsBarIsRefused) {
  EXPECT_THAT(PlanMsix(MsixOf(4, 0x1000, 0), Sizes{0x1000}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table")));
}

TEST(PlanMsixTest, ASingleEntryWithoutRoomForItsBitIsRefused) {
  EXPECT_THAT(
      PlanMsix(MsixOf(1, 0, 0x8000), Sizes{16}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no room")));
}

// Whatever the device says, the structures that the guest sees lie inside of
// their BARs and apart, and a PBA that was moved shares the table's pages.
TEST(PlanMsixTest, PropertiesHoldForAnyLayout) {
  std::minstd_rand random(7);
  int moved = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto vectors = static_cast<uint16_t>(1 + random() % 2048);
    const auto offset = [&] {
      return static_cast<uint32_t>(random() % 0x4000 & ~7u);
    };
    const pci::MsixCapability device =
        MsixOf(vectors, offset(), offset() | random() % 3);
    const Sizes sizes = {uint64_t{16} << random() % 12, uint64_t{0x2000}};
    const absl::StatusOr<MsixLayout> layout = PlanMsix(device, sizes);
    if (!layout.ok()) continue;
    const pci::MsixCapability& shown = layout->shown;
    const uint64_t pba = shown.pba_offset();
    ASSERT_LE(pba + shown.pba_bytes(), sizes[shown.pba_bar().value()]) << i;
    ASSERT_GE(layout->max_vectors, 1u) << i;
    ASSERT_LE(layout->max_vectors, vectors) << i;
    const uint64_t table = shown.table_offset();
    const uint64_t table_end = table + layout->max_vectors * 16u;
    if (shown.pba_bar() == shown.table_bar()) {
      ASSERT_TRUE(pba >= table_end || pba + shown.pba_bytes() <= table) << i;
    }
    if (layout->moved.empty()) continue;
    ++moved;
    ASSERT_EQ(shown.pba_bar(), shown.table_bar()) << i;
    ASSERT_GE(pba, table & ~uint64_t{0xfff}) << i;
    ASSERT_LE(pba + shown.pba_bytes(),
              (table + vectors * 16u + 0xfff) & ~uint64_t{0xfff})
        << i;
  }
  EXPECT_GT(moved, 100);
}

}  // namespace
}  // namespace passthru::vfio_pci
