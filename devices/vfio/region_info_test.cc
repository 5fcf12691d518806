// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/region_info.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/odd_ioctl.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint32_t kReadWriteMap = VFIO_REGION_INFO_FLAG_READ |
                                   VFIO_REGION_INFO_FLAG_WRITE |
                                   VFIO_REGION_INFO_FLAG_MMAP;

// Builds an answer of VFIO_DEVICE_GET_REGION_INFO piece by piece.
class RegionAnswer : public InfoAnswerBuilder<RegionAnswer, vfio_region_info,
                                              VFIO_REGION_INFO_FLAG_CAPS> {
 public:
  RegionAnswer()
      : InfoAnswerBuilder({.flags = kReadWriteMap,
                           .index = 2,
                           .size = 0x10000,
                           .offset = uint64_t{2} << 40}) {}

  VfioRegionInfo Query() {
    OddIoctl ioctl(
        [&](unsigned long, uint8_t* argument) { return Write(argument); });
    return QueryRegionInfo(&ioctl, 5, 2, "0000:01:00.0");
  }
};

TEST(QueryRegionInfoTest, PlainRegion) {
  const VfioRegionInfo region = RegionAnswer().Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_EQ(region.index, 2u);
  EXPECT_EQ(region.size, 0x10000u);
  EXPECT_EQ(region.offset, uint64_t{2} << 40);
  EXPECT_TRUE(region.exists());
  EXPECT_TRUE(region.readable());
  EXPECT_TRUE(region.writable());
  EXPECT_TRUE(region.mappable());
  EXPECT_FALSE(region.msix_mappable);
  EXPECT_FALSE(region.type.has_value());
  EXPECT_THAT(region.MapAreas(), ElementsAre(RegionArea{0, 0x10000}));
}

TEST(QueryRegionInfoTest, AbsentRegionIsNoError) {
  RegionAnswer answer;
  answer.info().size = 0;
  answer.info().flags = 0;
  const VfioRegionInfo region = answer.Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_FALSE(region.exists());
  EXPECT_THAT(region.MapAreas(), IsEmpty());
}

TEST(QueryRegionInfoTest, RegionWithoutTheMapFlagHasNoAreas) {
  RegionAnswer answer;
  answer.info().flags = VFIO_REGION_INFO_FLAG_READ;
  EXPECT_THAT(answer.Query().MapAreas(), IsEmpty());
}

TEST(QueryRegionInfoTest, MsixMappable) {
  const VfioRegionInfo region =
      RegionAnswer().Capability(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE).Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_TRUE(region.msix_mappable);
}

TEST(QueryRegionInfoTest, AllSparseAreasAreKept) {
  const VfioRegionInfo region =
      RegionAnswer()
          .Capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP)
          .Append(uint32_t{2})
          .Append(uint32_t{0})
          .Append(uint64_t{0})
          .Append(uint64_t{0x2000})
          .Append(uint64_t{0x4000})
          .Append(uint64_t{0xc000})
          .Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_THAT(region.MapAreas(),
              ElementsAre(RegionArea{0, 0x2000}, RegionArea{0x4000, 0xc000}));
}

TEST(QueryRegionInfoTest, SparseWithoutAreasMeansNothingCanBeMapped) {
  const VfioRegionInfo region =
      RegionAnswer()
          .Capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP)
          .Append(uint32_t{0})
          .Append(uint32_t{0})
          .Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_THAT(region.MapAreas(), IsEmpty());
}

TEST(QueryRegionInfoTest, CapabilitiesAfterTheFirstAreRead) {
  const VfioRegionInfo region =
      RegionAnswer()
          .Capability(77)  // An unknown capability.
          .Append(uint64_t{0})
          .Capability(VFIO_REGION_INFO_CAP_TYPE)
          .Append(uint32_t{0x80008086})
          .Append(uint32_t{1})
          .Capability(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE)
          .Query();
  EXPECT_THAT(region.status, IsOk());
  EXPECT_EQ(region.type, (VfioRegionInfo::Type{0x80008086, 1}));
  EXPECT_TRUE(region.msix_mappable);
}

// Invalid capabilities must not make anything mappable, and must not keep the
// region from being read and written.
void ExpectReadWriteRegion(const VfioRegionInfo& region, const char* why) {
  EXPECT_THAT(region.status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(why)));
  EXPECT_THAT(region.status.message(), HasSubstr("BAR 2"));
  EXPECT_THAT(region.status.message(), HasSubstr("0000:01:00.0"));
  EXPECT_EQ(region.size, 0x10000u);
  EXPECT_TRUE(region.readable());
  EXPECT_TRUE(region.writable());
  EXPECT_FALSE(region.mappable());
  EXPECT_FALSE(region.msix_mappable);
  EXPECT_THAT(region.MapAreas(), IsEmpty());
}

TEST(QueryRegionInfoTest, ChainThatLeavesTheAnswerIsNotMapped) {
  RegionAnswer answer;
  answer.Capability(VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
  answer.info().cap_offset = 4096;
  ExpectReadWriteRegion(answer.Query(), "outside");
}

TEST(QueryRegionInfoTest, ChainThatLoopsIsNotMapped) {
  RegionAnswer answer;
  // The only capability is at offset 32 and points to itself.
  answer.Append(vfio_info_cap_header{
      .id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, .version = 1, .next = 32});
  answer.info().flags |= VFIO_REGION_INFO_FLAG_CAPS;
  answer.info().cap_offset = 32;
  ExpectReadWriteRegion(answer.Query(), "returns");
}

TEST(QueryRegionInfoTest, MoreSparseAreasThanThereIsRoomForAreNotMapped) {
  ExpectReadWriteRegion(RegionAnswer()
                            .Capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP)
                            .Append(uint32_t{0xffffffff})
                            .Append(uint32_t{0})
                            .Append(uint64_t{0})
                            .Append(uint64_t{0x1000})
                            .Query(),
                        "room for 1 of its 4294967295");
}

TEST(QueryRegionInfoTest, TruncatedSparseCapabilityIsNotMapped) {
  ExpectReadWriteRegion(
      RegionAnswer().Capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP).Query(),
      "truncated");
}

TEST(QueryRegionInfoTest, TruncatedTypeIsNotMapped) {
  ExpectReadWriteRegion(
      RegionAnswer().Capability(VFIO_REGION_INFO_CAP_TYPE).Query(),
      "truncated");
}

VfioRegionInfo WithSparseArea(uint64_t offset, uint64_t size) {
  return RegionAnswer()
      .Capability(VFIO_REGION_INFO_CAP_SPARSE_MMAP)
      .Append(uint32_t{1})
      .Append(uint32_t{0})
      .Append(offset)
      .Append(size)
      .Query();
}

TEST(QueryRegionInfoTest, SparseAreaBeyondTheRegionIsNotMapped) {
  ExpectReadWriteRegion(WithSparseArea(0xf000, 0x2000), "not made of pages");
}

TEST(QueryRegionInfoTest, SparseAreaThatWrapsIsNotMapped) {
  ExpectReadWriteRegion(WithSparseArea(0x1000, ~uint64_t{0xfff}),
                        "not made of pages");
}

TEST(QueryRegionInfoTest, SparseAreaAtAnOddOffsetIsNotMapped) {
  ExpectReadWriteRegion(WithSparseArea(0x800, 0x1000), "not made of pages");
}

TEST(QueryRegionInfoTest, SparseAreaOfAnOddSizeIsNotMapped) {
  ExpectReadWriteRegion(WithSparseArea(0, 0x1800), "not made of pages");
}

TEST(QueryRegionInfoTest, SizeThatNoFileOffsetReachesIsRefused) {
  RegionAnswer answer;
  answer.info().size = uint64_t{1} << 63;
  const VfioRegionInfo region = answer.Query();
  EXPECT_THAT(region.status, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(region.index, 2u);
  EXPECT_FALSE(region.exists());
  EXPECT_FALSE(region.readable());
}

TEST(QueryRegionInfoTest, OffsetAndSizeThatWrapAreRefused) {
  RegionAnswer answer;
  answer.info().offset = ~uint64_t{0};
  EXPECT_FALSE(answer.Query().exists());
}

TEST(QueryRegionInfoTest, RefusedQueryKeepsItsIndexAndErrno) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = EINVAL};
  });
  const VfioRegionInfo region =
      QueryRegionInfo(&ioctl, 5, VFIO_PCI_VGA_REGION_INDEX, "0000:01:00.0");
  EXPECT_EQ(region.index, VFIO_PCI_VGA_REGION_INDEX);
  EXPECT_FALSE(region.exists());
  EXPECT_EQ(kernel::ErrnoOf(region.status), EINVAL);
  EXPECT_THAT(region.status.message(),
              HasSubstr("VFIO_DEVICE_GET_REGION_INFO(index=8, VGA) on "
                        "0000:01:00.0"));
}

TEST(RegionNameTest, IsWhatPeopleCallIt) {
  EXPECT_EQ(RegionName(0), "BAR 0");
  EXPECT_EQ(RegionName(5), "BAR 5");
  EXPECT_EQ(RegionName(6), "expansion ROM");
  EXPECT_EQ(RegionName(7), "configuration space");
  EXPECT_EQ(RegionName(8), "VGA");
  EXPECT_EQ(RegionName(9), "region 9");
}

}  // namespace
}  // namespace passthru::vfio
