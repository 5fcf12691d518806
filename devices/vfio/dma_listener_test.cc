// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/dma_listener.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_host_test.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using fake::VfioTest;
using memory::GuestAddress;
using memory::MemoryArea;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kSize = 0x8000;

class DmaListenerTest : public VfioTest {
 protected:
  void SetUp() override {
    nvme_ = Plug("nvme");
    group_ = OpenGroup(7);
    absl::StatusOr<kernel::MappedRegion> memory =
        kernel::MappedRegion::Allocate(&kernel(), kSize, "guest memory");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
  }

  MemoryArea Ram(uint64_t guest) {
    return {.guest = GuestAddress(guest),
            .size = kSize,
            .host = memory_.data(),
            .kind = MemoryArea::Kind::kRam,
            .name = "ram"};
  }
  MemoryArea Bar(uint64_t guest) {
    MemoryArea area = Ram(guest);
    area.kind = MemoryArea::Kind::kDeviceBar;
    area.name = "bar";
    return area;
  }

  auto Mappings() { return host().vfio().DmaMappings(nvme_); }

  pci::Bdf nvme_;
  kernel::MappedRegion memory_;
  std::shared_ptr<VfioGroup> group_;
};

TEST_F(DmaListenerTest, RamIsMappedOneToOneUntilItGoes) {
  DmaListener listener(group_->container());
  EXPECT_THAT(listener.OnAdd(Ram(0x100000)), IsOk());
  const auto mappings = Mappings();
  ASSERT_THAT(mappings, SizeIs(1));
  EXPECT_EQ(mappings[0].iova, 0x100000u);
  EXPECT_EQ(mappings[0].size, kSize);
  EXPECT_EQ(mappings[0].vaddr, reinterpret_cast<uintptr_t>(memory_.data()));
  EXPECT_TRUE(mappings[0].read);
  EXPECT_TRUE(mappings[0].write);
  EXPECT_THAT(listener.OnRemove(Ram(0x100000)), IsOk());
  EXPECT_THAT(Mappings(), IsEmpty());
}

TEST_F(DmaListenerTest, ReadOnlyRamIsNotForDevicesToWrite) {
  DmaListener listener(group_->container());
  MemoryArea rom = Ram(0x100000);
  rom.read_only = true;
  EXPECT_THAT(listener.OnAdd(rom), IsOk());
  ASSERT_THAT(Mappings(), SizeIs(1));
  EXPECT_FALSE(Mappings()[0].write);
  EXPECT_THAT(listener.OnRemove(rom), IsOk());
}

TEST_F(DmaListenerTest, BarsOfDevicesAreNotMappedUnlessWanted) {
  DmaListener listener(group_->container());
  EXPECT_THAT(listener.OnAdd(Bar(0xc0000000)), IsOk());
  EXPECT_THAT(Mappings(), IsEmpty());
  EXPECT_THAT(listener.OnRemove(Bar(0xc0000000)), IsOk());
}

TEST_F(DmaListenerTest, BarsOfDevicesAreMappedWhenWanted) {
  DmaListener listener(group_->container(), {.device_bars = true});
  EXPECT_THAT(listener.OnAdd(Bar(0xc0000000)), IsOk());
  EXPECT_THAT(Mappings(), SizeIs(1));
  const MemoryArea bar = Bar(0xc0000000);
  EXPECT_THAT(listener.Mappings(),
              ElementsAre(DmaMapping{
                  .guest = bar.guest, .size = bar.size, .name = bar.name}));
  EXPECT_THAT(listener.OnRemove(Bar(0xc0000000)), IsOk());
  EXPECT_THAT(Mappings(), IsEmpty());
  EXPECT_THAT(listener.Mappings(), IsEmpty());
}

// The guest reaches the BAR without the IOMMU, so the BAR must not be lost.
TEST_F(DmaListenerTest, ABarThatTheIommuDoesNotReachIsAWarning) {
  DmaListener listener(group_->container(), {.device_bars = true});
  constexpr uint64_t kBeyond39Bits = uint64_t{1} << 40;
  EXPECT_THAT(listener.OnAdd(Bar(kBeyond39Bits)), IsOk());
  EXPECT_THAT(Mappings(), IsEmpty());
  EXPECT_THAT(listener.Mappings(), IsEmpty());
  EXPECT_EQ(listener.unreachable_bars(), 1u);
  EXPECT_THAT(listener.RecentFailures(),
              ElementsAre(AllOf(HasSubstr("other devices do not reach bar"),
                                HasSubstr("0x10000000000"),
                                HasSubstr("[0xfef00000, "))));
  EXPECT_THAT(listener.OnRemove(Bar(kBeyond39Bits)), IsOk());
  EXPECT_EQ(listener.unreachable_bars(), 0u);
  EXPECT_EQ(kernel().journal().Count("VFIO_IOMMU_UNMAP_DMA"), 0u);
}

TEST_F(DmaListenerTest, ABarThatTheKernelDoesNotMapIsAWarning) {
  DmaListener listener(group_->container(), {.device_bars = true});
  kernel().faults().FailNthOf("VFIO_IOMMU_MAP_DMA", 1, EFAULT);
  EXPECT_THAT(listener.OnAdd(Bar(0xc0000000)), IsOk());
  EXPECT_THAT(listener.RecentFailures(),
              ElementsAre(HasSubstr("VFIO_IOMMU_MAP_DMA(iova=0xc0000000")));
  EXPECT_THAT(listener.OnRemove(Bar(0xc0000000)), IsOk());
  // It is tried again when the BAR comes back.
  EXPECT_THAT(listener.OnAdd(Bar(0xc0000000)), IsOk());
  EXPECT_EQ(listener.unreachable_bars(), 0u);
  EXPECT_THAT(Mappings(), SizeIs(1));
  EXPECT_THAT(listener.OnRemove(Bar(0xc0000000)), IsOk());
  EXPECT_THAT(Mappings(), IsEmpty());
}

TEST_F(DmaListenerTest, AreaInTheMsiWindowIsRefusedWithTheRanges) {
  DmaListener listener(group_->container());
  EXPECT_THAT(listener.OnAdd(Ram(0xfee00000)),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("ram [0xfee00000"),
                             HasSubstr("[0x0, 0xfedfffff] [0xfef00000, "))));
  EXPECT_THAT(Mappings(), IsEmpty());
}

TEST_F(DmaListenerTest, AreaAcrossTheEdgeOfARangeIsNotSplit) {
  DmaListener listener(group_->container());
  EXPECT_THAT(listener.OnAdd(Ram(0xfedfc000)),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(Mappings(), IsEmpty());
}

TEST_F(DmaListenerTest, RefusalNamesTheCall) {
  DmaListener listener(group_->container());
  kernel().faults().FailNthOf("VFIO_IOMMU_MAP_DMA", 1, EFAULT);
  const absl::Status status = listener.OnAdd(Ram(0x100000));
  EXPECT_EQ(kernel::ErrnoOf(status), EFAULT);
  EXPECT_THAT(status.message(), HasSubstr("VFIO_IOMMU_MAP_DMA(iova=0x100000"));
}

TEST_F(DmaListenerTest, FailedRemovalCanBeTriedAgain) {
  DmaListener listener(group_->container());
  ASSERT_THAT(listener.OnAdd(Ram(0x100000)), IsOk());
  kernel().faults().FailNthOf("VFIO_IOMMU_UNMAP_DMA", 1, EINVAL);
  EXPECT_EQ(kernel::ErrnoOf(listener.OnRemove(Ram(0x100000))), EINVAL);
  EXPECT_THAT(listener.OnRemove(Ram(0x100000)), IsOk());
}

}  // namespace
}  // namespace passthru::vfio
