// SPDX-License-Identifier: Apache-2.0
// Tests the access to regions of VfioDevice.
#include <linux/vfio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using fake::AlteredIoctl;
using fake::VfioTest;
using kernel::ErrnoOf;
using kernel::SyscallResult;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kBar0 = VFIO_PCI_BAR0_REGION_INDEX;
constexpr uint32_t kConfig = VFIO_PCI_CONFIG_REGION_INDEX;
constexpr uint16_t kCommand = 4;
constexpr uint16_t kMemoryEnable = 2;

// Tests on the edu device, whose BAR of 1 MiB begins with its identification.
class RegionAccessTest : public VfioTest {
 protected:
  void SetUp() override { device_ = OpenDevice(Plug("edu"), 3); }

  void EnableMemory() {
    ASSERT_THAT(device_->WriteConfig<uint16_t>(kCommand, kMemoryEnable),
                IsOk());
  }

  std::unique_ptr<VfioDevice> device_;
};

TEST_F(RegionAccessTest, ConfigurationSpaceOfEachWidth) {
  EXPECT_THAT(device_->ReadConfig<uint8_t>(0), IsOkAndHolds(0x34));
  EXPECT_THAT(device_->ReadConfig<uint16_t>(2), IsOkAndHolds(0x11e8));
  EXPECT_THAT(device_->ReadConfig<uint32_t>(0), IsOkAndHolds(0x11e81234u));
}

TEST_F(RegionAccessTest, ConfigurationSpaceIsWritten) {
  EXPECT_THAT(device_->WriteConfig<uint8_t>(0x3c, 0x0a), IsOk());
  EXPECT_THAT(device_->ReadConfig<uint8_t>(0x3c), IsOkAndHolds(0x0a));
}

TEST_F(RegionAccessTest, ConfigurationSpaceInOneRead) {
  std::vector<uint8_t> all(device_->config_size());
  EXPECT_THAT(device_->ReadRegion(kConfig, 0, absl::MakeSpan(all)), IsOk());
  EXPECT_THAT(absl::MakeSpan(all).first(4),
              ElementsAre(0x34, 0x12, 0xe8, 0x11));
  EXPECT_EQ(kernel().journal().Count("pread"), 1u);
}

TEST_F(RegionAccessTest, BarIsReadAndWritten) {
  EnableMemory();
  std::array<uint8_t, 4> bytes = {};
  EXPECT_THAT(device_->ReadRegion(kBar0, 0, absl::MakeSpan(bytes)), IsOk());
  EXPECT_THAT(bytes, ElementsAre(0xed, 0, 0, 1));
  // The device's liveness register returns the complement of the last write.
  bytes = {1, 2, 3, 4};
  EXPECT_THAT(device_->WriteRegion(kBar0, 4, bytes), IsOk());
  EXPECT_THAT(device_->ReadRegion(kBar0, 4, absl::MakeSpan(bytes)), IsOk());
  EXPECT_THAT(bytes, ElementsAre(0xfe, 0xfd, 0xfc, 0xfb));
}

TEST_F(RegionAccessTest, NothingIsNoAccess) {
  const size_t before = kernel().journal().Count("pread");
  EXPECT_THAT(device_->ReadRegion(kConfig, 256, {}), IsOk());
  EXPECT_EQ(kernel().journal().Count("pread"), before);
}

TEST_F(RegionAccessTest, MemoryThatIsNotDecodedIsUnavailable) {
  std::array<uint8_t, 4> bytes = {};
  ASSERT_THAT(device_->WriteConfig<uint16_t>(kCommand, 0), IsOk());
  const absl::Status read =
      device_->ReadRegion(kBar0, 0, absl::MakeSpan(bytes));
  EXPECT_THAT(read, StatusIs(absl::StatusCode::kUnavailable,
                             AllOf(HasSubstr("read of BAR 0 of 0000:00:02.0"),
                                   HasSubstr("does not decode memory"))));
  EXPECT_EQ(ErrnoOf(read), EIO);
  EXPECT_EQ(ErrnoOf(device_->WriteRegion(kBar0, 0, bytes)), EIO);
}

TEST_F(RegionAccessTest, AccessAcrossTheEndIsRefusedWithoutACall) {
  std::array<uint8_t, 4> bytes = {};
  const size_t before = kernel().journal().Count("pread");
  EXPECT_THAT(device_->ReadRegion(kConfig, 254, absl::MakeSpan(bytes)),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("0x100")));
  EXPECT_THAT(device_->WriteRegion(kConfig, 254, bytes),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(kernel().journal().Count("pread"), before);
}

TEST_F(RegionAccessTest, OffsetThatWrapsIsRefused) {
  std::array<uint8_t, 4> bytes = {};
  EXPECT_THAT(
      device_->ReadRegion(kBar0, ~uint64_t{0} - 1, absl::MakeSpan(bytes)),
      StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(RegionAccessTest, AbsentRegionIsRefused) {
  std::array<uint8_t, 1> byte = {};
  EXPECT_THAT(device_->ReadRegion(1, 0, absl::MakeSpan(byte)),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("BAR 1")));
  EXPECT_THAT(
      device_->ReadRegion(1000, 0, absl::MakeSpan(byte)),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("region 1000")));
}

TEST_F(RegionAccessTest, SignalDoesNotEndAnAccess) {
  kernel().faults().FailNthOf("pread", 1, EINTR);
  EXPECT_THAT(device_->ReadConfig<uint16_t>(0), IsOkAndHolds(0x1234));
  kernel().faults().FailNthOf("pwrite", 1, EINTR);
  EXPECT_THAT(device_->WriteConfig<uint8_t>(0x3c, 5), IsOk());
}

TEST_F(RegionAccessTest, ShortCountIsContinued) {
  kernel().faults().ShortenNthOf("pread", 1, 1);
  EXPECT_THAT(device_->ReadConfig<uint32_t>(0), IsOkAndHolds(0x11e81234u));
  kernel().faults().ShortenNthOf("pwrite", 1, 1);
  EXPECT_THAT(device_->WriteConfig<uint16_t>(kCommand, 7), IsOk());
  EXPECT_THAT(device_->ReadConfig<uint16_t>(kCommand), IsOkAndHolds(7));
}

TEST_F(RegionAccessTest, OtherErrorsAreTheErrno) {
  kernel().faults().FailNthOf("pread", 1, EFAULT);
  const absl::Status status = device_->ReadConfig<uint8_t>(0).status();
  EXPECT_EQ(ErrnoOf(status), EFAULT);
  EXPECT_THAT(status.message(),
              HasSubstr("read of configuration space of 0000:00:02.0 at 0x0 "
                        "(0x1 bytes): Bad address"));
}

// Tests with counts that no kernel returns and flags that a driver might set.
class OddRegionTest : public VfioTest {
 protected:
  class OddCounts : public AlteredIoctl {
   public:
    OddCounts(kernel::Syscalls* target, Alter alter)
        : AlteredIoctl(target, std::move(alter)) {}
    SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                uint64_t offset) override {
      if (answer.has_value()) return {.value = *answer};
      return AlteredIoctl::Pread(fd, buffer, count, offset);
    }
    std::optional<size_t> answer;
  };

  void SetUp() override {
    const pci::Bdf edu = Plug("edu");
    odd_ = std::make_unique<OddCounts>(
        &kernel(),
        [this](unsigned long request, void* argument, SyscallResult<int>&) {
          auto* const info = static_cast<vfio_region_info*>(argument);
          if (request == VFIO_DEVICE_GET_REGION_INFO && info->index == kBar0) {
            info->flags = bar_flags_;
          }
        });
    open_ = [this, edu] {
      const auto container = VfioContainer::Create(odd_.get());
      EXPECT_THAT(container, IsOk());
      const auto group = VfioGroup::Open(*container, 3);
      EXPECT_THAT(group, IsOk());
      auto device = VfioDevice::Open(*group, edu);
      EXPECT_THAT(device, IsOk());
      return *std::move(device);
    };
  }

  uint32_t bar_flags_ = VFIO_REGION_INFO_FLAG_READ |
                        VFIO_REGION_INFO_FLAG_WRITE |
                        VFIO_REGION_INFO_FLAG_MMAP;
  std::unique_ptr<OddCounts> odd_;
  std::function<std::unique_ptr<VfioDevice>()> open_;
};

TEST_F(OddRegionTest, ReadThatReturnsNothingEnds) {
  const std::unique_ptr<VfioDevice> device = open_();
  odd_->answer = 0;
  EXPECT_THAT(device->ReadConfig<uint32_t>(0),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(OddRegionTest, ReadThatReturnsMoreThanAskedForEnds) {
  const std::unique_ptr<VfioDevice> device = open_();
  odd_->answer = 100;
  EXPECT_THAT(device->ReadConfig<uint32_t>(0),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(OddRegionTest, WriteOnlyRegionIsNotRead) {
  bar_flags_ = VFIO_REGION_INFO_FLAG_WRITE;
  const std::unique_ptr<VfioDevice> device = open_();
  std::array<uint8_t, 4> bytes = {};
  EXPECT_THAT(device->ReadRegion(kBar0, 0, absl::MakeSpan(bytes)),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(OddRegionTest, ReadOnlyRegionIsNotWritten) {
  bar_flags_ = VFIO_REGION_INFO_FLAG_READ;
  const std::unique_ptr<VfioDevice> device = open_();
  const std::array<uint8_t, 4> bytes = {};
  EXPECT_THAT(device->WriteRegion(kBar0, 0, bytes),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(OddRegionTest, RegionThatCannotBeMappedIsNotMapped) {
  bar_flags_ = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  const std::unique_ptr<VfioDevice> device = open_();
  EXPECT_THAT(device->MapRegion(kBar0, 0, 0x1000),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(OddRegionTest, RegionThatCannotBeReadIsNotMapped) {
  for (const uint32_t flags : {0, VFIO_REGION_INFO_FLAG_WRITE}) {
    bar_flags_ = flags | VFIO_REGION_INFO_FLAG_MMAP;
    const std::unique_ptr<VfioDevice> device = open_();
    EXPECT_THAT(device->MapRegion(kBar0, 0, 0x1000),
                StatusIs(absl::StatusCode::kPermissionDenied,
                         HasSubstr("the region cannot be read")));
  }
}

class MapRegionTest : public RegionAccessTest {};

TEST_F(MapRegionTest, WholeRegionUntilItIsUnmapped) {
  EnableMemory();
  absl::StatusOr<kernel::MappedRegion> mapped =
      device_->MapRegion(kBar0, 0, 0x100000);
  ASSERT_THAT(mapped, IsOk());
  EXPECT_EQ(mapped->size(), 0x100000u);
  EXPECT_EQ(host().vfio().Snapshot(device_->address())->mappings, 1u);
  mapped->reset();
  EXPECT_EQ(host().vfio().Snapshot(device_->address())->mappings, 0u);
}

TEST_F(MapRegionTest, PartOfARegion) {
  EXPECT_THAT(device_->MapRegion(kBar0, 0x1000, 0x2000), IsOk());
}

TEST_F(MapRegionTest, BeyondTheEndIsRefused) {
  EXPECT_THAT(device_->MapRegion(kBar0, 0xff000, 0x2000),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(MapRegionTest, OffsetInsideAPageIsRefused) {
  EXPECT_THAT(device_->MapRegion(kBar0, 0x800, 0x1000),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MapRegionTest, NothingIsRefused) {
  EXPECT_THAT(device_->MapRegion(kBar0, 0, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MapRegionTest, ConfigurationSpaceIsRefused) {
  EXPECT_THAT(device_->MapRegion(kConfig, 0, 0x100),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("configuration space")));
}

TEST_F(MapRegionTest, KernelsRefusalCarriesItsErrno) {
  kernel().faults().FailNthOf("mmap", 1, ENOMEM);
  const absl::Status status = device_->MapRegion(kBar0, 0, 0x1000).status();
  EXPECT_EQ(ErrnoOf(status), ENOMEM);
  EXPECT_THAT(status.message(), HasSubstr("BAR 0 of 0000:00:02.0"));
}

}  // namespace
}  // namespace passthru::vfio
