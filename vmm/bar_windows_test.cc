// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/bar_windows.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kOneGiB = uint64_t{1} << 30;

pci::Bar WideBar(uint64_t size) {
  return {
      .index = pci::BarIndex(0), .type = pci::BarType::kMemory64, .size = size};
}

class BarWindowsTest : public ::testing::Test {
 protected:
  void CreateWindows(unsigned bits, uint64_t high_ram_size = 0) {
    windows_ = *BarWindows::Create(bits, high_ram_size);
    taken_.clear();
  }
  // Returns the address, or 0 if there is no room.
  uint64_t PlaceOne(const pci::Bar& bar,
                    const std::optional<vfio::IommuInfo>& iommu = {}) {
    auto place = windows_->Place(bar, iommu);
    if (!place.ok()) {
      EXPECT_THAT(place, StatusIs(absl::StatusCode::kResourceExhausted));
      return 0;
    }
    taken_.push_back(*std::move(place));
    return taken_.back().address();
  }

  std::unique_ptr<BarWindows> windows_;
  std::vector<allocator::AddressAllocation> taken_;
};

TEST_F(BarWindowsTest, EightBarsOf256GiBNeed42Bits) {
  CreateWindows(42);
  for (uint64_t i = 1; i <= 8; ++i) {
    EXPECT_EQ(PlaceOne(WideBar(256 * kOneGiB)), i * 256 * kOneGiB);
  }
  CreateWindows(41);
  for (uint64_t i = 1; i <= 7; ++i) {
    EXPECT_EQ(PlaceOne(WideBar(256 * kOneGiB)), i * 256 * kOneGiB);
  }
  EXPECT_EQ(PlaceOne(WideBar(256 * kOneGiB)), 0u);
  EXPECT_EQ(PlaceOne(WideBar(128 * kOneGiB)), 128 * kOneGiB)
      << "there is room below";
}

TEST_F(BarWindowsTest, BarsAreNotWhereRamIs) {
  CreateWindows(36, 8 * kOneGiB);
  EXPECT_EQ(PlaceOne(WideBar(4 * kOneGiB)), 12 * kOneGiB);
  EXPECT_THAT(windows_->PlaceAt(WideBar(4 * kOneGiB), 8 * kOneGiB),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(BarWindowsTest, ACpuOf36BitsHas60GiB) {
  CreateWindows(36);
  EXPECT_EQ(PlaceOne(WideBar(32 * kOneGiB)), 32 * kOneGiB);
  EXPECT_EQ(PlaceOne(WideBar(32 * kOneGiB)), 0u);
  EXPECT_EQ(PlaceOne(WideBar(16 * kOneGiB)), 16 * kOneGiB);
}

TEST_F(BarWindowsTest, SmallMemoryBarsHavePagesOfTheirOwn) {
  CreateWindows(39);
  const pci::Bar memory = {.index = pci::BarIndex(0),
                           .type = pci::BarType::kMemory32,
                           .size = 0x100};
  EXPECT_EQ(PlaceOne(memory), 0xc0000000u);
  EXPECT_EQ(PlaceOne(memory), 0xc0001000u);
  const pci::Bar ports = {
      .index = pci::BarIndex(0), .type = pci::BarType::kIo, .size = 0x20};
  EXPECT_EQ(PlaceOne(ports), 0x1000u);
  EXPECT_EQ(PlaceOne(ports), 0x1020u);
}

TEST_F(BarWindowsTest, ASmallWideBarFallsBackBelowFourGiB) {
  CreateWindows(32);
  EXPECT_EQ(PlaceOne(WideBar(kOneGiB / 2)), 0xc0000000u);
}

TEST_F(BarWindowsTest, WhatTheIommuReachesComesFirst) {
  CreateWindows(46);
  const vfio::IommuInfo iommu = {
      .iova_ranges = {{{memory::Iova(0), memory::Iova(0x7f'ffffffff)}}}};
  EXPECT_EQ(PlaceOne(WideBar(256 * kOneGiB), iommu), 256 * kOneGiB);
  EXPECT_EQ(PlaceOne(WideBar(128 * kOneGiB), iommu), 128 * kOneGiB);
  EXPECT_EQ(PlaceOne(WideBar(256 * kOneGiB), iommu), 512 * kOneGiB)
      << "better than nowhere";
}

TEST_F(BarWindowsTest, FixedPlaces) {
  CreateWindows(46);
  auto place = windows_->PlaceAt(WideBar(kOneGiB), 40 * 256 * kOneGiB);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->address(), 40 * 256 * kOneGiB);
  EXPECT_THAT(windows_->PlaceAt(WideBar(kOneGiB), 40 * 256 * kOneGiB),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(windows_->PlaceAt(WideBar(kOneGiB), kOneGiB / 2),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(windows_->PlaceAt(WideBar(kOneGiB), kOneGiB),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("no window")));
  EXPECT_THAT(windows_->PlaceAt(WideBar(kOneGiB), uint64_t{1} << 46),
              StatusIs(absl::StatusCode::kOutOfRange));
}

}  // namespace
}  // namespace passthru::vmm
