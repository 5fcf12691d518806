// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_area.h"

#include <linux/vfio.h>

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/little_endian.h"

namespace passthru::vfio_pci {
namespace {

using ::testing::ElementsAre;
using Kind = BarAreaKind;

constexpr uint64_t kPage = 4096;

pci::Bar Memory(uint64_t size) {
  return {
      .index = pci::BarIndex(0), .type = pci::BarType::kMemory64, .size = size};
}

vfio::VfioRegionInfo Mappable(uint64_t size) {
  return {.index = 0,
          .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                   VFIO_REGION_INFO_FLAG_MMAP,
          .size = size};
}

vfio::VfioRegionInfo NotMappable(uint64_t size) {
  vfio::VfioRegionInfo region = Mappable(size);
  region.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  return region;
}

pci::MsixCapability Msix(uint16_t vectors, uint32_t table, uint32_t pba) {
  std::vector<uint8_t> config(256);
  config[0x40] = 0x11;
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(config), 0x42,
                                   static_cast<uint16_t>(vectors - 1));
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x44, table);
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x48, pba);
  const auto msix = pci::MsixCapability::Parse(config, 0x40);
  CHECK_OK(msix);
  return *msix;
}

TEST(PlanBarAreasTest, AnOrdinaryBarIsMappedWhole) {
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), Mappable(0x4000), {}, kPage),
              ElementsAre(BarArea{0, 0x4000, Kind::kMapped}));
}

TEST(PlanBarAreasTest, PortsAreTrapped) {
  pci::Bar bar = Memory(0x20);
  bar.type = pci::BarType::kIo;
  EXPECT_THAT(PlanBarAreas(bar, Mappable(0x20), {}, kPage),
              ElementsAre(BarArea{0, 0x20, Kind::kIoPorts}));
}

// The rest of the page belongs to others.
TEST(PlanBarAreasTest, LessThanAPageIsTrapped) {
  EXPECT_THAT(PlanBarAreas(Memory(0x800), NotMappable(0x800), {}, kPage),
              ElementsAre(BarArea{0, 0x800, Kind::kSubPage}));
}

TEST(PlanBarAreasTest, LessThanAPageIsMappedIfTheKernelOffersIt) {
  EXPECT_THAT(PlanBarAreas(Memory(0x800), Mappable(0x800), {}, kPage),
              ElementsAre(BarArea{0, 0x800, Kind::kMapped}));
}

TEST(PlanBarAreasTest, WithLargePagesMoreIsLessThanAPage) {
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), NotMappable(0x4000), {}, 0x10000),
              ElementsAre(BarArea{0, 0x4000, Kind::kSubPage}));
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), Mappable(0x4000), {}, 0x10000),
              ElementsAre(BarArea{0, 0x4000, Kind::kMapped}));
}

TEST(PlanBarAreasTest, LessThanAPageWithAnMsixStructureIsTrapped) {
  EXPECT_THAT(PlanBarAreas(Memory(0x800), Mappable(0x800),
                           Msix(2, 0x100, 0x200 | 1), kPage),
              ElementsAre(BarArea{0, 0x800, Kind::kMsixTable}));
  EXPECT_THAT(
      PlanBarAreas(Memory(0x100), Mappable(0x100), Msix(17, 0x2001, 0), kPage),
      ElementsAre(BarArea{0, 0x100, Kind::kMsixPba}));
}

TEST(PlanBarAreasTest, WhatTheKernelDoesNotOfferIsTrapped) {
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), NotMappable(0x4000), {}, kPage),
              ElementsAre(BarArea{0, 0x4000, Kind::kNotMappable}));
}

TEST(PlanBarAreasTest, AllSparseAreasCountCutToPages) {
  vfio::VfioRegionInfo region = Mappable(0x8000);
  region.sparse_areas = {{0x1000, 0x1000}, {0x4800, 0x2000}};
  EXPECT_THAT(PlanBarAreas(Memory(0x8000), region, {}, kPage),
              ElementsAre(BarArea{0, 0x1000, Kind::kOutsideSparse},
                          BarArea{0x1000, 0x1000, Kind::kMapped},
                          BarArea{0x2000, 0x3000, Kind::kOutsideSparse},
                          BarArea{0x5000, 0x1000, Kind::kMapped},
                          BarArea{0x6000, 0x2000, Kind::kOutsideSparse}));
}

TEST(PlanBarAreasTest, AreasOfferedSideBySideAreMappedApart) {
  vfio::VfioRegionInfo region = Mappable(0x2000);
  region.sparse_areas = {{0, 0x1000}, {0x1000, 0x1000}};
  EXPECT_THAT(PlanBarAreas(Memory(0x2000), region, {}, kPage),
              ElementsAre(BarArea{0, 0x1000, Kind::kMapped},
                          BarArea{0x1000, 0x1000, Kind::kMapped}));
}

TEST(PlanBarAreasTest, TableAndPbaPagesAreHoles) {
  EXPECT_THAT(PlanBarAreas(Memory(0x8000), Mappable(0x8000),
                           Msix(65, 0x2000, 0x4000), kPage),
              ElementsAre(BarArea{0, 0x2000, Kind::kMapped},
                          BarArea{0x2000, 0x1000, Kind::kMsixTable},
                          BarArea{0x3000, 0x1000, Kind::kMapped},
                          BarArea{0x4000, 0x1000, Kind::kMsixPba},
                          BarArea{0x5000, 0x3000, Kind::kMapped}));
}

// The table starts in one page and ends in the next, which the PBA shares.
TEST(PlanBarAreasTest, AnUnalignedTableTakesAllItsPages) {
  EXPECT_THAT(PlanBarAreas(Memory(0x8000), Mappable(0x8000),
                           Msix(16, 0x2f80, 0x3f00), kPage),
              ElementsAre(BarArea{0, 0x2000, Kind::kMapped},
                          BarArea{0x2000, 0x2000, Kind::kMsixTable},
                          BarArea{0x4000, 0x4000, Kind::kMapped}));
}

TEST(PlanBarAreasTest, ATableInAnotherBarIsNoConcern) {
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), Mappable(0x4000),
                           Msix(8, 0x2000 | 2, 0x3000 | 4), kPage),
              ElementsAre(BarArea{0, 0x4000, Kind::kMapped}));
}

TEST(PlanBarAreasTest, ATableBeyondTheBarHoldsNothing) {
  EXPECT_THAT(PlanBarAreas(Memory(0x4000), Mappable(0x4000),
                           Msix(2048, 0x3ff0, 0xfffffff8), kPage),
              ElementsAre(BarArea{0, 0x3000, Kind::kMapped},
                          BarArea{0x3000, 0x1000, Kind::kMsixTable}));
}

// Whatever the device and the kernel report, the areas cover the BAR. The
// mapped ones were offered, are whole pages or a BAR smaller than a page, and
// hold no part of table or PBA.
TEST(PlanBarAreasTest, PropertiesHoldForAnyLayout) {
  std::minstd_rand random(7);
  for (int i = 0; i < 5000; ++i) {
    const uint64_t size = uint64_t{16} << random() % 16;
    vfio::VfioRegionInfo region = Mappable(size);
    if (random() % 2 == 0) {
      region.sparse_areas.emplace();
      for (unsigned j = random() % 4; j > 0; --j) {
        region.sparse_areas->push_back(
            {random() % (2 * size), random() % size});
      }
    }
    const auto location = [&] {
      return static_cast<uint32_t>(random() % (2 * size) & ~uint64_t{7});
    };
    const pci::MsixCapability msix = Msix(
        static_cast<uint16_t>(1 + random() % 2048), location(), location());
    const auto areas = PlanBarAreas(Memory(size), region, msix, kPage);
    uint64_t next = 0;
    for (const BarArea& area : areas) {
      ASSERT_EQ(area.offset, next);
      ASSERT_GT(area.size, 0u);
      next += area.size;
      if (!area.mapped()) continue;
      ASSERT_EQ(area.offset % kPage, 0u);
      ASSERT_TRUE(area.size % kPage == 0 || area.size == size);
      const uint64_t end = area.offset + area.size;
      ASSERT_TRUE(end <= msix.table_offset() ||
                  area.offset >= msix.table_offset() + msix.table_bytes());
      ASSERT_TRUE(end <= msix.pba_offset() ||
                  area.offset >= msix.pba_offset() + msix.pba_bytes());
      if (!region.sparse_areas.has_value()) continue;
      bool offered = false;
      for (const vfio::RegionArea& sparse : *region.sparse_areas) {
        offered |=
            sparse.offset <= area.offset && end <= sparse.offset + sparse.size;
      }
      ASSERT_TRUE(offered);
    }
    ASSERT_EQ(next, size);
  }
}

}  // namespace
}  // namespace passthru::vfio_pci
