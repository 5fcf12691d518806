// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/iommu_info.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/odd_ioctl.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using memory::Iova;
using testing::ElementsAre;
using testing::HasSubstr;

// Builds an answer of VFIO_IOMMU_GET_INFO piece by piece.
class Answer : public InfoAnswerBuilder<Answer, vfio_iommu_type1_info,
                                        VFIO_IOMMU_INFO_CAPS> {
 public:
  Answer()
      : InfoAnswerBuilder(
            {.flags = VFIO_IOMMU_INFO_PGSIZES, .iova_pgsizes = 0x40201000}) {}

  Answer& Ranges(const std::vector<uint64_t>& ends) {
    Capability(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
    Append(static_cast<uint32_t>(ends.size() / 2)).Append(uint32_t{0});
    for (const uint64_t end : ends) Append(end);
    return *this;
  }

  absl::StatusOr<IommuInfo> Query() {
    OddIoctl ioctl([&](unsigned long request, uint8_t* argument) {
      EXPECT_EQ(request, VFIO_IOMMU_GET_INFO);
      return Write(argument);
    });
    return QueryIommuInfo(&ioctl, 5);
  }
};

// The answer of Linux 6.12 with an Intel IOMMU. Its capabilities are migration,
// DMA available, and the ranges around the MSI window.
TEST(QueryIommuInfoTest, WholeChainOfALinuxHost) {
  const absl::StatusOr<IommuInfo> info =
      Answer()
          .Capability(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION)
          .Append(uint32_t{0})
          .Append(uint32_t{0})
          .Append(uint64_t{0x1000})
          .Append(uint64_t{0x10000000})
          .Capability(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
          .Append(uint32_t{65535})
          .Append(uint32_t{0})
          .Ranges({0, 0xfedfffff, 0xfef00000, 0x7fffffffff})
          .Query();
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->page_sizes, 0x40201000u);
  EXPECT_EQ(info->min_page_size, 0x1000u);
  ASSERT_TRUE(info->migration.has_value());
  EXPECT_EQ(info->migration->page_size_bitmap, 0x1000u);
  EXPECT_EQ(info->migration->max_dirty_bitmap_bytes, 0x10000000u);
  EXPECT_EQ(info->dma_available, 65535u);
  ASSERT_TRUE(info->iova_ranges.has_value());
  EXPECT_THAT(*info->iova_ranges,
              ElementsAre(IovaRange{Iova(0), Iova(0xfedfffff)},
                          IovaRange{Iova(0xfef00000), Iova(0x7fffffffff)}));
  EXPECT_EQ(info->RangesToString(),
            "[0x0, 0xfedfffff] [0xfef00000, 0x7fffffffff]");
}

TEST(QueryIommuInfoTest, OldKernelTellsPageSizesOnly) {
  const absl::StatusOr<IommuInfo> info = Answer().Query();
  ASSERT_THAT(info, IsOk());
  EXPECT_FALSE(info->iova_ranges.has_value());
  EXPECT_FALSE(info->dma_available.has_value());
  EXPECT_TRUE(info->Allows(Iova(0), 0x1000));
  EXPECT_EQ(info->RangesToString(), "(unknown)");
}

TEST(QueryIommuInfoTest, WithoutPageSizesTheHostsIsTaken) {
  Answer answer;
  answer.info().flags = 0;
  const absl::StatusOr<IommuInfo> info = answer.Query();
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->min_page_size, kernel::PageSize());
}

TEST(QueryIommuInfoTest, UnknownCapabilityIsPassedOver) {
  const absl::StatusOr<IommuInfo> info =
      Answer().Capability(99).Append(uint64_t{1}).Ranges({0, 0xfff}).Query();
  ASSERT_THAT(info, IsOk());
  EXPECT_THAT(*info->iova_ranges, ElementsAre(IovaRange{Iova(0), Iova(0xfff)}));
}

TEST(QueryIommuInfoTest, RangesAreSorted) {
  const absl::StatusOr<IommuInfo> info =
      Answer().Ranges({0x2000, 0x2fff, 0, 0xfff}).Query();
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->RangesToString(), "[0x0, 0xfff] [0x2000, 0x2fff]");
}

TEST(QueryIommuInfoTest, RangeThatEndsBeforeItBeginsIsRefused) {
  EXPECT_THAT(Answer().Ranges({0x2000, 0x1fff}).Query(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("ends before")));
}

TEST(QueryIommuInfoTest, MoreRangesThanThereIsRoomForAreRefused) {
  EXPECT_THAT(Answer()
                  .Capability(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
                  .Append(uint32_t{1000})
                  .Append(uint32_t{0})
                  .Query(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("room for 0")));
}

TEST(QueryIommuInfoTest, TruncatedRangesAreRefused) {
  EXPECT_THAT(Answer().Capability(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE).Query(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("truncated")));
}

TEST(QueryIommuInfoTest, TruncatedDmaAvailableIsRefused) {
  EXPECT_THAT(
      Answer().Capability(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL).Query(),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("DMA available")));
}

TEST(QueryIommuInfoTest, TruncatedMigrationIsRefused) {
  EXPECT_THAT(Answer()
                  .Capability(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION)
                  .Append(uint64_t{0})
                  .Query(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("migration")));
}

TEST(QueryIommuInfoTest, ChainThatLeavesTheAnswerIsRefused) {
  Answer answer;
  answer.Ranges({0, 0xfff});
  answer.info().cap_offset = 0x1000;
  EXPECT_THAT(answer.Query(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(QueryIommuInfoTest, RefusalCarriesItsErrno) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = EINVAL};
  });
  EXPECT_EQ(kernel::ErrnoOf(QueryIommuInfo(&ioctl, 5).status()), EINVAL);
}

class IommuInfoAllowsTest : public testing::Test {
 protected:
  const IommuInfo info_{.iova_ranges = std::vector<IovaRange>{
                            {Iova(0x1000), Iova(0x4fff)},
                            {Iova(0x8000), Iova(~uint64_t{0})},
                        }};
};

TEST_F(IommuInfoAllowsTest, WhatFillsARange) {
  EXPECT_TRUE(info_.Allows(Iova(0x1000), 0x4000));
  EXPECT_TRUE(info_.Allows(Iova(0x8000), ~uint64_t{0} - 0x8000 + 1));
}

TEST_F(IommuInfoAllowsTest, NotWhatBeginsBeforeARange) {
  EXPECT_FALSE(info_.Allows(Iova(0), 0x2000));
}

TEST_F(IommuInfoAllowsTest, NotWhatEndsBehindARange) {
  EXPECT_FALSE(info_.Allows(Iova(0x4000), 0x2000));
}

TEST_F(IommuInfoAllowsTest, NotWhatSpansTwoRanges) {
  EXPECT_FALSE(info_.Allows(Iova(0x4000), 0x8000));
}

TEST_F(IommuInfoAllowsTest, NotWhatWraps) {
  EXPECT_FALSE(info_.Allows(Iova(~uint64_t{0xfff}), 0x2000));
}

}  // namespace
}  // namespace passthru::vfio
