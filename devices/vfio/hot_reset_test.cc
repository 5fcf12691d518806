// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/hot_reset.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/odd_ioctl.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kFd = 5;
constexpr char kName[] = "0000:01:00.0";

vfio_pci_hot_reset_info* Info(uint8_t* argument) {
  return reinterpret_cast<vfio_pci_hot_reset_info*>(argument);
}
uint32_t Room(const uint8_t* argument) { return (Argsz(argument) - 12) / 8; }

TEST(QueryHotResetDevicesTest, ListIsAskedForAgainWithRoom) {
  OddIoctl ioctl([](unsigned long request, uint8_t* argument) {
    EXPECT_EQ(request, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO);
    Info(argument)->count = 2;
    if (Room(argument) < 2) return SyscallResult<int>{.error = ENOSPC};
    auto* const devices =
        reinterpret_cast<vfio_pci_dependent_device*>(argument + 12);
    devices[0].group_id = 26;
    devices[0].segment = 0;
    devices[0].bus = 1;
    devices[0].devfn = 0;
    devices[1].group_id = 27;
    devices[1].segment = 0x10;
    devices[1].bus = 2;
    devices[1].devfn = 0x1f << 3 | 7;
    return SyscallResult<int>{};
  });
  EXPECT_THAT(QueryHotResetDevices(&ioctl, kFd, kName),
              IsOkAndHolds(
                  ElementsAre(HotResetDevice{pci::Bdf(0, 1, 0, 0), 26},
                              HotResetDevice{pci::Bdf(0x10, 2, 0x1f, 7), 27})));
  EXPECT_EQ(ioctl.calls(), 2);
}

TEST(QueryHotResetDevicesTest, WithoutASlotOrBusResetIsEnodev) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = ENODEV};
  });
  const absl::Status status = QueryHotResetDevices(&ioctl, kFd, kName).status();
  EXPECT_EQ(kernel::ErrnoOf(status), ENODEV);
  EXPECT_THAT(status.message(),
              HasSubstr("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO on 0000:01:00.0"));
}

TEST(QueryHotResetDevicesTest, EnospcWithoutACountEnds) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = ENOSPC};
  });
  EXPECT_EQ(kernel::ErrnoOf(QueryHotResetDevices(&ioctl, kFd, kName).status()),
            ENOSPC);
  EXPECT_EQ(ioctl.calls(), 1);
}

TEST(QueryHotResetDevicesTest, CountThatGrowsForEverEnds) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    Info(argument)->count = Room(argument) + 1;
    return SyscallResult<int>{.error = ENOSPC};
  });
  EXPECT_THAT(QueryHotResetDevices(&ioctl, kFd, kName),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_LE(ioctl.calls(), 16);
}

TEST(QueryHotResetDevicesTest, SuccessThatClaimsMoreThanItWroteEnds) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    Info(argument)->count = Room(argument) + 1;
    return SyscallResult<int>{};
  });
  EXPECT_THAT(QueryHotResetDevices(&ioctl, kFd, kName),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(QueryHotResetDevicesTest, AbsurdCountIsNotAllocated) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    Info(argument)->count = 0xffffffff;
    return SyscallResult<int>{.error = ENOSPC};
  });
  EXPECT_THAT(QueryHotResetDevices(&ioctl, kFd, kName),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295")));
  EXPECT_EQ(ioctl.calls(), 1);
}

TEST(HotResetTest, PassesTheGroups) {
  std::vector<int32_t> groups;
  OddIoctl ioctl([&](unsigned long request, uint8_t* argument) {
    EXPECT_EQ(request, VFIO_DEVICE_PCI_HOT_RESET);
    const auto* const reset = reinterpret_cast<vfio_pci_hot_reset*>(argument);
    EXPECT_EQ(reset->argsz, 20u);
    EXPECT_EQ(reset->flags, 0u);
    const auto* const fds = reinterpret_cast<int32_t*>(argument + 12);
    groups.assign(fds, fds + reset->count);
    return SyscallResult<int>{};
  });
  EXPECT_THAT(HotReset(&ioctl, kFd, kName, {7, 9}), IsOk());
  EXPECT_THAT(groups, ElementsAre(7, 9));
}

TEST(HotResetTest, RefusalNamesTheDevice) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = EINVAL};
  });
  const absl::Status status = HotReset(&ioctl, kFd, kName, {7});
  EXPECT_EQ(kernel::ErrnoOf(status), EINVAL);
  EXPECT_THAT(status.message(),
              HasSubstr("VFIO_DEVICE_PCI_HOT_RESET(count=1) on 0000:01:00.0"));
}

}  // namespace
}  // namespace passthru::vfio
