// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_REGION_INFO_H_
#define PASSTHRU_DEVICES_VFIO_REGION_INFO_H_

#include <linux/vfio.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// Bytes [offset, offset + size) of a region.
struct RegionArea {
  uint64_t offset = 0;
  uint64_t size = 0;

  friend bool operator==(const RegionArea&, const RegionArea&) = default;
};

// One region of a device (struct vfio_region_info and its capabilities): a
// BAR, the expansion ROM, the configuration space, or one of the driver's own.
// A value.
struct VfioRegionInfo {
  // struct vfio_region_info_cap_type.
  struct Type {
    uint32_t type = 0;
    uint32_t subtype = 0;

    friend bool operator==(const Type&, const Type&) = default;
  };

  uint32_t index = 0;
  uint32_t flags = 0;   // VFIO_REGION_INFO_FLAG_*
  uint64_t size = 0;    // 0: the device does not have it.
  uint64_t offset = 0;  // Within the device's descriptor.

  // VFIO_REGION_INFO_CAP_SPARSE_MMAP: only these areas can be mapped.
  std::optional<std::vector<RegionArea>> sparse_areas;
  // VFIO_REGION_INFO_CAP_TYPE: what a device specific region is.
  std::optional<Type> type;
  // VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: pages with the MSI-X table may be
  // mapped with the rest of the BAR; the kernel does not protect the table.
  bool msix_mappable = false;

  // Why this region is not, or not wholly, usable. When the kernel refused the
  // query or answered nonsense, the region keeps its place with size 0; when
  // only its capabilities are broken it can be read and written, not mapped.
  absl::Status status;

  bool exists() const { return size != 0; }
  bool readable() const { return (flags & VFIO_REGION_INFO_FLAG_READ) != 0; }
  bool writable() const { return (flags & VFIO_REGION_INFO_FLAG_WRITE) != 0; }
  bool mappable() const { return (flags & VFIO_REGION_INFO_FLAG_MMAP) != 0; }

  // What can be mapped: the sparse areas, or else the whole of a mappable
  // region, or nothing.
  std::vector<RegionArea> MapAreas() const;
};

// VFIO_DEVICE_GET_REGION_INFO of region `index` of the device behind
// `device_fd`. Whatever goes wrong is in the result's status: regions are
// named by index, so one that fails must not shift the others. `device` is for
// messages.
VfioRegionInfo QueryRegionInfo(kernel::Syscalls* syscalls, int device_fd,
                               uint32_t index, std::string_view device);

// "BAR 0", "expansion ROM", "configuration space", "region 12".
std::string RegionName(uint32_t index);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_REGION_INFO_H_
