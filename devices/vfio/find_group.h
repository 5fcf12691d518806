// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_FIND_GROUP_H_
#define PASSTHRU_DEVICES_VFIO_FIND_GROUP_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {

// These functions find the VFIO group of the device address that a user typed.
// If the user made a mistake, the message of the error is one sentence that
// says what to do.

// Parses the address that a user typed. Returns InvalidArgument if it is none.
absl::StatusOr<pci::Bdf> ParseHostDevice(std::string_view text);

// Returns the number of the IOMMU group of `device`, from sysfs, after checking
// that the device exists and is bound to a VFIO driver.
absl::StatusOr<uint32_t> FindGroup(kernel::Syscalls* syscalls, pci::Bdf device,
                                   const VfioPaths& paths = {});

// Returns the name of the driver that `device` is bound to, or "" if it has
// none.
absl::StatusOr<std::string> DriverOf(kernel::Syscalls* syscalls,
                                     std::string_view device,
                                     const VfioPaths& paths);

// Returns the commands that bind `device` to vfio-pci, for messages, as
// "`modprobe vfio-pci; echo ...` (as root)". `bound` says whether a driver has
// it now.
std::string BindCommands(std::string_view device, bool bound);

// Returns whether the driver of this name is vfio-pci or one of its variants
// (mlx5_vfio_pci, ...), which give their devices to VFIO.
bool IsVfioDriver(std::string_view driver);

// A device that keeps its group from being viable.
struct BlockingDevice {
  std::string device;  // "0000:00:1f.3"
  std::string driver;
};

// Returns the devices of group `number` whose driver keeps the group from being
// viable, as far as sysfs shows. Devices without a driver do not block, nor do
// drivers that leave DMA alone, such as those of VFIO, pcieport and pci-stub
// (device_driver.driver_managed_dma).
std::vector<BlockingDevice> FindBlockingDevices(kernel::Syscalls* syscalls,
                                                uint32_t number,
                                                const VfioPaths& paths);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_FIND_GROUP_H_
