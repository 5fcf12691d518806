// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_device.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio/vfio_container.h"
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
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

class VfioDeviceTest : public VfioTest {};

TEST_F(VfioDeviceTest, NvmeIsDescribedAsCaptured) {
  const pci::Bdf nvme = Plug("nvme");
  const std::unique_ptr<VfioDevice> device = OpenDevice(nvme, 7);
  EXPECT_EQ(device->address(), nvme);
  EXPECT_EQ(device->name(), "0000:02:00.0");
  EXPECT_TRUE(device->can_reset());
  EXPECT_EQ(device->region_count(), 9u);
  EXPECT_EQ(device->irq_count(), 5u);

  const VfioRegionInfo& bar = device->region(VFIO_PCI_BAR0_REGION_INDEX);
  EXPECT_THAT(bar.status, IsOk());
  EXPECT_EQ(bar.size, 0x4000u);
  EXPECT_TRUE(bar.msix_mappable);
  EXPECT_THAT(bar.MapAreas(), ElementsAre(RegionArea{0, 0x4000}));
  EXPECT_FALSE(device->region(VFIO_PCI_BAR1_REGION_INDEX).exists());
  EXPECT_THAT(device->region(VFIO_PCI_BAR1_REGION_INDEX).status, IsOk());
  EXPECT_EQ(device->config_size(), 4096u);
  EXPECT_THAT(device->ReadConfig<uint32_t>(0), IsOkAndHolds(0x00101b36u));

  EXPECT_EQ(device->irq(VFIO_PCI_MSIX_IRQ_INDEX).count, 65u);
  EXPECT_FALSE(device->irq(VFIO_PCI_MSIX_IRQ_INDEX).noresize());
  EXPECT_EQ(device->irq(VFIO_PCI_MSI_IRQ_INDEX).count, 0u);
  EXPECT_EQ(device->irq(VFIO_PCI_INTX_IRQ_INDEX).count, 1u);
}

// The kernel refuses region 8 of a device without VGA. It refuses the error
// interrupt of a device that is not PCI Express.
TEST_F(VfioDeviceTest, RefusedQueriesKeepTheirPlace) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("edu"), 3);
  EXPECT_EQ(device->region(VFIO_PCI_VGA_REGION_INDEX).index,
            VFIO_PCI_VGA_REGION_INDEX);
  EXPECT_EQ(ErrnoOf(device->region(VFIO_PCI_VGA_REGION_INDEX).status), EINVAL);
  EXPECT_EQ(ErrnoOf(device->irq(VFIO_PCI_ERR_IRQ_INDEX).status), EINVAL);
  EXPECT_EQ(device->irq(VFIO_PCI_REQ_IRQ_INDEX).count, 1u);
  EXPECT_EQ(device->irq(VFIO_PCI_REQ_IRQ_INDEX).index, VFIO_PCI_REQ_IRQ_INDEX);
}

TEST_F(VfioDeviceTest, QueryThatFailsDoesNotShiftTheOthers) {
  const pci::Bdf address = Plug("e1000e");
  // The second query is that of region 1.
  kernel().faults().FailNthOf("VFIO_DEVICE_GET_REGION_INFO", 2, EINVAL);
  const std::unique_ptr<VfioDevice> device = OpenDevice(address, 6);
  EXPECT_EQ(ErrnoOf(device->region(1).status), EINVAL);
  EXPECT_FALSE(device->region(1).exists());
  EXPECT_EQ(device->region(2).size, 0x20u);
  EXPECT_EQ(device->region(3).size, 0x4000u);
  EXPECT_TRUE(device->region(3).msix_mappable);
}

TEST_F(VfioDeviceTest, BeyondTheLastIndexThereIsNothing) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  EXPECT_FALSE(device->region(9).exists());
  EXPECT_FALSE(device->region(0xffffffff).exists());
  EXPECT_FALSE(device->irq(5).exists());
}

TEST_F(VfioDeviceTest, DeviceOfAnotherGroupIsExplained) {
  Plug("nvme");
  const pci::Bdf edu = Plug("edu");
  EXPECT_THAT(VfioDevice::Open(OpenGroup(7), edu),
              StatusIs(testing::_, HasSubstr("0000:00:02.0 is not a device of "
                                             "IOMMU group 7")));
}

TEST_F(VfioDeviceTest, KeepsItsGroupOpen) {
  const pci::Bdf nvme = Plug("nvme");
  std::shared_ptr<VfioGroup> group = OpenGroup(7);
  absl::StatusOr<std::unique_ptr<VfioDevice>> device =
      VfioDevice::Open(group, nvme);
  ASSERT_THAT(device, IsOk());
  group.reset();
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 0u);
  device->reset();
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
  // The call would fail with EBUSY if the device's descriptor were still open.
  EXPECT_EQ(
      kernel().journal().CountWhere([](const journal::JournalEntry& entry) {
        return entry.call.name == "VFIO_GROUP_UNSET_CONTAINER" &&
               entry.error != 0;
      }),
      0u);
}

// Whichever call fails, VfioDevice must release what it opened before. The base
// class checks for leaks.
TEST_F(VfioDeviceTest, FailureOfAnyCallLeavesNothing) {
  const pci::Bdf nvme = Plug("nvme");
  size_t failures = 0;
  for (size_t n = 1;; ++n) {
    kernel().faults().Clear();
    kernel().faults().FailNth(n, EIO);
    absl::Status status;
    {
      const auto container = VfioContainer::Create(&kernel());
      status = container.status();
      if (status.ok()) {
        const auto group = VfioGroup::Open(*container, 7);
        status = group.status();
        if (status.ok()) status = VfioDevice::Open(*group, nvme).status();
      }
    }
    if (kernel().faults().injected() == 0) {
      EXPECT_THAT(status, IsOk());
      break;
    }
    if (!status.ok()) ++failures;
    EXPECT_TRUE(kernel().CheckLeaks().empty())
        << "after call " << n << " failed: " << kernel().CheckLeaks();
  }
  EXPECT_GE(failures, 9u);
}

class OddDeviceTest : public VfioTest {
 protected:
  // Opens the NVMe controller on a kernel whose ioctls `alter` changes.
  absl::Status Open(AlteredIoctl::Alter alter) {
    const pci::Bdf nvme = Plug("nvme");
    AlteredIoctl altered(&kernel(), std::move(alter));
    const auto container = VfioContainer::Create(&altered);
    EXPECT_THAT(container, IsOk());
    const auto group = VfioGroup::Open(*container, 7);
    EXPECT_THAT(group, IsOk());
    return VfioDevice::Open(*group, nvme).status();
  }

  absl::Status OpenWithInfo(
      const std::function<void(vfio_device_info&)>& change) {
    return Open(
        [&](unsigned long request, void* argument, SyscallResult<int>& result) {
          if (request == VFIO_DEVICE_GET_INFO && result.ok()) {
            change(*static_cast<vfio_device_info*>(argument));
          }
        });
  }
};

TEST_F(OddDeviceTest, AbsurdNumberOfRegionsIsRefused) {
  EXPECT_THAT(
      OpenWithInfo([](vfio_device_info& info) { info.num_regions = ~0u; }),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295 regions")));
}

TEST_F(OddDeviceTest, TooFewRegionsAreRefused) {
  EXPECT_THAT(OpenWithInfo([](vfio_device_info& info) {
                info.num_regions = VFIO_PCI_CONFIG_REGION_INDEX;
              }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("7 regions")));
}

TEST_F(OddDeviceTest, AbsurdNumberOfInterruptTypesIsRefused) {
  EXPECT_THAT(
      OpenWithInfo([](vfio_device_info& info) { info.num_irqs = ~0u; }),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295 interrupt")));
}

TEST_F(OddDeviceTest, TooFewInterruptTypesAreRefused) {
  EXPECT_THAT(OpenWithInfo([](vfio_device_info& info) { info.num_irqs = 0; }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("0 interrupt")));
}

TEST_F(OddDeviceTest, PlatformDeviceIsRefused) {
  EXPECT_THAT(OpenWithInfo([](vfio_device_info& info) {
                info.flags = VFIO_DEVICE_FLAGS_PLATFORM;
              }),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not a PCI device")));
}

TEST_F(OddDeviceTest, RegionsThatTheKernelDoesNotKnowAreMarked) {
  // 256 is the most that Open() accepts. The kernel refuses regions from 9 on.
  EXPECT_THAT(
      OpenWithInfo([](vfio_device_info& info) { info.num_regions = 256; }),
      IsOk());
}

TEST_F(OddDeviceTest, ConfigurationSpaceThatIsTooSmallIsRefused) {
  EXPECT_THAT(Open([](unsigned long request, void* argument,
                      SyscallResult<int>& result) {
                auto* const info = static_cast<vfio_region_info*>(argument);
                if (request == VFIO_DEVICE_GET_REGION_INFO && result.ok() &&
                    info->index == VFIO_PCI_CONFIG_REGION_INDEX) {
                  info->size = 64;
                }
              }),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("64 bytes of configuration space")));
}

TEST_F(OddDeviceTest, RefusedConfigurationSpaceIsAnError) {
  EXPECT_EQ(ErrnoOf(Open([](unsigned long request, void* argument,
                            SyscallResult<int>& result) {
              if (request == VFIO_DEVICE_GET_REGION_INFO &&
                  static_cast<vfio_region_info*>(argument)->index ==
                      VFIO_PCI_CONFIG_REGION_INDEX) {
                result = {.error = EIO};
              }
            })),
            EIO);
}

TEST_F(OddDeviceTest, RefusedDeviceInfoIsAnError) {
  kernel().faults().FailNthOf("VFIO_DEVICE_GET_INFO", 1, EIO);
  EXPECT_EQ(ErrnoOf(OpenWithInfo([](vfio_device_info&) {})), EIO);
}

class VfioDeviceResetTest : public VfioTest {};

TEST_F(VfioDeviceResetTest, FunctionLevelReset) {
  const pci::Bdf nvme = Plug("nvme");
  const std::unique_ptr<VfioDevice> device = OpenDevice(nvme, 7);
  const uint64_t before = host().vfio().Snapshot(nvme)->resets;
  EXPECT_THAT(device->Reset(), IsOk());
  EXPECT_EQ(host().vfio().Snapshot(nvme)->resets, before + 1);
}

TEST_F(VfioDeviceResetTest, DeviceWithoutAResetIsNotAsked) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("edu"), 3);
  EXPECT_FALSE(device->can_reset());
  EXPECT_THAT(device->Reset(), StatusIs(absl::StatusCode::kUnimplemented,
                                        HasSubstr("0000:00:02.0")));
  EXPECT_EQ(kernel().journal().Count("VFIO_DEVICE_RESET"), 0u);
}

TEST_F(VfioDeviceResetTest, RefusalCarriesItsErrno) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  kernel().faults().FailNthOf("VFIO_DEVICE_RESET", 1, EAGAIN);
  const absl::Status status = device->Reset();
  EXPECT_EQ(ErrnoOf(status), EAGAIN);
  EXPECT_THAT(status.message(), HasSubstr("VFIO_DEVICE_RESET on 0000:02:00.0"));
}

TEST_F(VfioDeviceResetTest, HotResetListsTheDeviceItself) {
  const pci::Bdf nvme = Plug("nvme");
  const std::unique_ptr<VfioDevice> device = OpenDevice(nvme, 7);
  EXPECT_THAT(device->GetHotResetDevices(),
              IsOkAndHolds(Contains(HotResetDevice{nvme, 7})));
}

// As Intel VMD's. The kernel's list has only 16 bits for the domain.
TEST_F(VfioDeviceResetTest, HotResetListsADeviceInAWideDomain) {
  const pci::Bdf vmd(0x10000, 0xe1, 0, 0);
  const pci::Bdf nvme = Plug("nvme", {.bdf = vmd});
  ASSERT_EQ(nvme, vmd);
  const std::unique_ptr<VfioDevice> device = OpenDevice(nvme, 7);
  EXPECT_THAT(device->GetHotResetDevices(),
              IsOkAndHolds(Contains(HotResetDevice{vmd, 7})));
}

TEST_F(VfioDeviceResetTest, HotResetIsWhatThePciCoreSays) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  // A real kernel returned this for devices behind QEMU's root ports.
  EXPECT_EQ(ErrnoOf(device->HotReset({device->group()->fd()})), ENOTTY);
}

TEST_F(VfioDeviceResetTest, HotResetWithoutTheGroupIsEinval) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  EXPECT_EQ(ErrnoOf(device->HotReset({})), EINVAL);
}

}  // namespace
}  // namespace passthru::vfio
