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

// What stands between a user's device address and a VFIO group. Each mistake
// that a user can make is one sentence that says what to do.

// The address that a user typed.
absl::StatusOr<pci::Bdf> ParseHostDevice(std::string_view text);

// The number of the IOMMU group of `device`, from sysfs, after checking that
// the device exists and that a VFIO driver has it.
absl::StatusOr<uint32_t> FindGroup(kernel::Syscalls* syscalls, pci::Bdf device,
                                   const VfioPaths& paths = {});

// The driver that has `device`; empty if none has.
absl::StatusOr<std::string> DriverOf(kernel::Syscalls* syscalls,
                                     std::string_view device,
                                     const VfioPaths& paths);

// Whether a driver of this name leaves a device to VFIO: vfio-pci, or one of
// its variants (mlx5_vfio_pci, ...).
bool IsVfioDriver(std::string_view driver);

// A device that keeps its group from being viable.
struct BlockingDevice {
  std::string device;  // "0000:00:1f.3"
  std::string driver;
};

// The devices of group `number` that are bound to a driver
// other than VFIO's, as far as sysfs tells. Bridges under pcieport and devices
// without a driver do not block (vfio_dev_viable()).
std::vector<BlockingDevice> FindBlockingDevices(kernel::Syscalls* syscalls,
                                                uint32_t number,
                                                const VfioPaths& paths);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_FIND_GROUP_H_
