// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_container.h"

#include <fcntl.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using fake::AlteredIoctl;
using fake::VfioTest;
using kernel::ErrnoOf;
using kernel::SyscallResult;
using memory::Iova;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kMapSize = 0x8000;

class VfioContainerTest : public VfioTest {
 protected:
  VfioContainerTest() = default;
  explicit VfioContainerTest(fake::SimulatedHost::Options options)
      : VfioTest(std::move(options)) {}

  void SetUp() override {
    nvme_ = Plug("nvme");
    absl::StatusOr<kernel::MappedRegion> memory =
        kernel::MappedRegion::Allocate(&kernel(), kMapSize, "guest memory");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
  }

  void* memory() { return memory_.data(); }

  pci::Bdf nvme_;
  kernel::MappedRegion memory_;
};

TEST_F(VfioContainerTest, WithoutAGroupThereIsNoIommu) {
  const std::shared_ptr<VfioContainer> container = OpenContainer();
  EXPECT_THAT(container->QueryInfo(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(
      container->MapDma(Iova(0), kMapSize, memory(), true, true),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no group")));
  EXPECT_THAT(container->UnmapDma(Iova(0), kMapSize),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(VfioContainerTest, FirstGroupBringsTheIommu) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  const IommuInfo info = group->container()->info();
  EXPECT_EQ(info.min_page_size, 4096u);
  EXPECT_EQ(info.RangesToString(),
            "[0x0, 0xfedfffff] [0xfef00000, 0x7fffffffff]");
  EXPECT_EQ(info.dma_available, 65535u);
  EXPECT_TRUE(info.migration.has_value());
  EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), 1u);
}

TEST_F(VfioContainerTest, SecondGroupSharesIt) {
  Plug("edu");
  const std::shared_ptr<VfioContainer> container = OpenContainer();
  const auto first = VfioGroup::Open(container, 7);
  const auto second = VfioGroup::Open(container, 3);
  EXPECT_THAT(first, IsOk());
  EXPECT_THAT(second, IsOk());
  EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), 1u);
}

TEST_F(VfioContainerTest, GroupAfterTheLastOneLeftBringsItAnew) {
  const std::shared_ptr<VfioContainer> container = OpenContainer();
  ASSERT_THAT(VfioGroup::Open(container, 7), IsOk());
  EXPECT_THAT(container->QueryInfo(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  const auto again = VfioGroup::Open(container, 7);
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(container->QueryInfo(), IsOk());
  EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), 2u);
}

TEST_F(VfioContainerTest, MappingIsThereUntilItIsUnmapped) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  EXPECT_THAT(container.MapDma(Iova(0x100000), kMapSize, memory(), true, false),
              IsOk());
  const auto mappings = host().vfio().DmaMappings(nvme_);
  ASSERT_THAT(mappings, SizeIs(1));
  EXPECT_EQ(mappings[0].iova, 0x100000u);
  EXPECT_EQ(mappings[0].size, kMapSize);
  EXPECT_EQ(mappings[0].vaddr, reinterpret_cast<uintptr_t>(memory()));
  EXPECT_TRUE(mappings[0].read);
  EXPECT_FALSE(mappings[0].write);
  EXPECT_EQ(container.QueryInfo()->dma_available, 65534u);

  EXPECT_THAT(container.UnmapDma(Iova(0x100000), kMapSize), IsOk());
  EXPECT_THAT(host().vfio().DmaMappings(nvme_), IsEmpty());
}

TEST_F(VfioContainerTest, OverlapIsAlreadyExists) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  ASSERT_THAT(container.MapDma(Iova(0x100000), kMapSize, memory(), true, true),
              IsOk());
  EXPECT_THAT(container.MapDma(Iova(0x104000), kMapSize, memory(), true, true),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("VFIO_IOMMU_MAP_DMA(iova=0x104000, "
                                 "size=0x8000, RW)")));
  ASSERT_THAT(container.UnmapDma(Iova(0x100000), kMapSize), IsOk());
}

TEST_F(VfioContainerTest, AddressOutsideTheApertureIsEinval) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_EQ(ErrnoOf(group->container()->MapDma(Iova(0xfee00000), kMapSize,
                                               memory(), true, true)),
            EINVAL);
}

TEST_F(VfioContainerTest, MemoryThatIsNotThereIsEfault) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_EQ(
      ErrnoOf(group->container()->MapDma(
          Iova(0), kMapSize, reinterpret_cast<void*>(0x1000), true, true)),
      EFAULT);
}

TEST_F(VfioContainerTest, UnmappingAHoleIsNotTakenForSuccess) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_THAT(
      group->container()->UnmapDma(Iova(0x100000), kMapSize),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("size=0x8000"), HasSubstr("only 0x0 bytes"))));
}

TEST_F(VfioContainerTest, UnmappingMoreThanWasMappedIsNotTakenForSuccess) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  ASSERT_THAT(container.MapDma(Iova(0x100000), kMapSize, memory(), true, true),
              IsOk());
  EXPECT_THAT(
      container.UnmapDma(Iova(0x100000), 2 * kMapSize),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("only 0x8000 bytes")));
}

TEST_F(VfioContainerTest, UnmappingAPartIsEinval) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  ASSERT_THAT(container.MapDma(Iova(0x100000), kMapSize, memory(), true, true),
              IsOk());
  EXPECT_EQ(ErrnoOf(container.UnmapDma(Iova(0x100000), kMapSize / 2)), EINVAL);
  ASSERT_THAT(container.UnmapDma(Iova(0x100000), kMapSize), IsOk());
}

// The host's administrator may take the device from vfio-pci once it is closed.
TEST_F(VfioContainerTest, MappingsThatWentWithTheIommuAreUnmapped) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  ASSERT_THAT(container.MapDma(Iova(0x100000), kMapSize, memory(), true, true),
              IsOk());
  ASSERT_THAT(host().vfio().SetDriver(nvme_, ""), IsOk());
  EXPECT_THAT(container.UnmapDma(Iova(0x100000), kMapSize), IsOk());
  EXPECT_EQ(ErrnoOf(container.QueryInfo().status()), EINVAL);
}

// The administrator's unbind waits for the user to close the device, and takes
// the IOMMU away then, before the user comes to unmap anything.
TEST_F(VfioContainerTest, AnUnbindThatWaitedTakesTheIommuAtTheClose) {
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  log.StartCapturingLogs();
  std::shared_ptr<VfioGroup> group = OpenGroup(7);
  const std::shared_ptr<VfioContainer> container = group->container();
  auto device = VfioDevice::Open(group, nvme_);
  ASSERT_THAT(device, IsOk());
  ASSERT_THAT(container->MapDma(Iova(0), kMapSize, memory(), true, true),
              IsOk());
  ASSERT_THAT(host().vfio().SetDriver(nvme_, ""), IsOk());
  EXPECT_THAT(container->QueryInfo(), IsOk());
  device->reset();
  EXPECT_EQ(ErrnoOf(container->QueryInfo().status()), EINVAL);
  EXPECT_THAT(container->UnmapDma(Iova(0), kMapSize), IsOk());
  group.reset();
}

// The kernel lets a group that is about to leave go with the next
// VFIO_CHECK_EXTENSION, so the IOMMU may be lost although VFIO_IOMMU_UNMAP_DMA
// found it, without its mappings.
TEST_F(VfioContainerTest, AnIommuThatIsAboutToGoIsWaitedFor) {
  bool unmapped = false;
  AlteredIoctl altered(&kernel(), [&](unsigned long request, void* argument,
                                      SyscallResult<int>& result) {
    if (request == VFIO_IOMMU_UNMAP_DMA) {
      EXPECT_EQ(result.error, 0);
      static_cast<vfio_iommu_type1_dma_unmap*>(argument)->size = 0;
      unmapped = true;
    } else if (request == VFIO_CHECK_EXTENSION && unmapped) {
      EXPECT_THAT(host().vfio().SetDriver(nvme_, ""), IsOk());
    }
  });
  const auto container = VfioContainer::Create(&altered);
  ASSERT_THAT(container, IsOk());
  const auto group = VfioGroup::Open(*container, 7);
  ASSERT_THAT(group, IsOk());
  ASSERT_THAT((*container)->MapDma(Iova(0), kMapSize, memory(), true, true),
              IsOk());
  EXPECT_THAT((*container)->UnmapDma(Iova(0), kMapSize), IsOk());
  EXPECT_TRUE(unmapped);
}

// A new IOMMU would have none of the mappings that the user of the first group
// relies on.
TEST_F(VfioContainerTest, GroupIsRefusedWhileAnotherHasLostTheIommu) {
  Plug("edu");
  std::shared_ptr<VfioGroup> lost = OpenGroup(7);
  const std::shared_ptr<VfioContainer> container = lost->container();
  ASSERT_THAT(host().vfio().SetDriver(nvme_, ""), IsOk());
  EXPECT_THAT(VfioGroup::Open(container, 3),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("group 3"), HasSubstr("detach"))));
  EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), 1u);
  lost.reset();
  EXPECT_THAT(VfioGroup::Open(container, 3), IsOk());
  EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), 2u);
}

// The other party's group left, and with it the IOMMU.
TEST_F(VfioContainerTest, AnAdoptedIommuThatIsLostIsSetAnew) {
  kernel::FileDescriptor descriptor(
      &kernel(), kernel().Open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC).value);
  kernel::FileDescriptor others(
      &kernel(), kernel().Open("/dev/vfio/7", O_RDWR | O_CLOEXEC).value);
  int fd = descriptor.get();
  ASSERT_EQ(kernel().Ioctl(others.get(), VFIO_GROUP_SET_CONTAINER, &fd).error,
            0);
  ASSERT_EQ(kernel().IoctlInt(fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU).error, 0);
  const auto container = VfioContainer::Adopt(&kernel(), std::move(descriptor));
  ASSERT_THAT(container, IsOk());
  others.reset();
  for (unsigned set = 2; set <= 3; ++set) {
    const auto group = VfioGroup::Open(*container, 7);
    EXPECT_THAT(group, IsOk());
    EXPECT_THAT((*container)->QueryInfo(), IsOk());
    EXPECT_EQ(kernel().journal().Count("VFIO_SET_IOMMU"), set);
  }
}

TEST_F(VfioContainerTest, MissingVfioIsExplained) {
  kernel().SetOpenError("/dev/vfio/vfio", ENOENT);
  EXPECT_THAT(
      VfioContainer::Create(&kernel()),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("modprobe vfio-pci")));
}

TEST_F(VfioContainerTest, OtherPathsAreUsed) {
  EXPECT_THAT(VfioContainer::Create(&kernel(), {.dev_vfio = "/dev/vfio/none"})
                  .status()
                  .message(),
              HasSubstr("/dev/vfio/none/vfio"));
}

TEST_F(VfioContainerTest, OtherApiVersionIsRefused) {
  AlteredIoctl altered(
      &kernel(), [](unsigned long request, void*, SyscallResult<int>& result) {
        if (request == VFIO_GET_API_VERSION) result = {.value = 1};
      });
  EXPECT_THAT(
      VfioContainer::Create(&altered),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 1")));
}

TEST_F(VfioContainerTest, WithoutType1v2IsRefused) {
  AlteredIoctl altered(
      &kernel(), [](unsigned long request, void*, SyscallResult<int>& result) {
        if (request == VFIO_CHECK_EXTENSION) result = {.value = 0};
      });
  EXPECT_THAT(VfioContainer::Create(&altered),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("vfio_iommu_type1")));
}

TEST_F(VfioContainerTest, FailedIommuInfoLeavesTheGroupOut) {
  kernel().faults().FailNthOf("VFIO_IOMMU_GET_INFO", 1, ENOMEM);
  const std::shared_ptr<VfioContainer> container = OpenContainer();
  EXPECT_EQ(ErrnoOf(VfioGroup::Open(container, 7).status()), ENOMEM);
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
  // A second attempt succeeds.
  EXPECT_THAT(VfioGroup::Open(container, 7), IsOk());
}

class NoRemappingTest : public VfioContainerTest {
 protected:
  NoRemappingTest()
      : VfioContainerTest({.vfio = {.iommu = {.interrupt_remapping = false}}}) {
  }
};

TEST_F(NoRemappingTest, GroupIsRefusedWithTheReason) {
  const std::shared_ptr<VfioContainer> container = OpenContainer();
  EXPECT_THAT(VfioGroup::Open(container, 7),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("interrupt remapping"),
                             HasSubstr("allow_unsafe_interrupts"))));
}

class MemlockTest : public VfioContainerTest {
 protected:
  MemlockTest()
      : VfioContainerTest(
            {.vfio = {.iommu = {.locked_memory_limit = kMapSize / 2}}}) {}
};

TEST_F(MemlockTest, PinningBeyondTheLimitIsExplained) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_THAT(
      group->container()->MapDma(Iova(0), kMapSize, memory(), true, true),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("pinning 32 KiB"), HasSubstr("memory"))));
}

class FewMappingsTest : public VfioContainerTest {
 protected:
  FewMappingsTest()
      : VfioContainerTest({.vfio = {.iommu = {.max_mappings = 1}}}) {}
};

TEST_F(FewMappingsTest, RunningOutIsExplained) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  VfioContainer& container = *group->container();
  ASSERT_THAT(container.MapDma(Iova(0), kMapSize, memory(), true, true),
              IsOk());
  EXPECT_THAT(container.MapDma(Iova(kMapSize), kMapSize, memory(), true, true)
                  .message(),
              HasSubstr("dma_entry_limit"));
  ASSERT_THAT(container.UnmapDma(Iova(0), kMapSize), IsOk());
}

}  // namespace
}  // namespace passthru::vfio
