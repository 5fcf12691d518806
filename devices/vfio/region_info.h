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

// One region of a device (struct vfio_region_info and its capabilities), which
// is a BAR, the expansion ROM, the configuration space, VGA or a region that
// the driver adds. A value type.
struct VfioRegionInfo {
  // struct vfio_region_info_cap_type.
  struct Type {
    uint32_t type = 0;
    uint32_t subtype = 0;

    friend bool operator==(const Type&, const Type&) = default;
  };

  uint32_t index = 0;
  uint32_t flags = 0;   // VFIO_REGION_INFO_FLAG_*
  uint64_t size = 0;    // In bytes, or 0 if the device does not have it.
  uint64_t offset = 0;  // Within the device's descriptor.

  // The only areas that can be mapped (VFIO_REGION_INFO_CAP_SPARSE_MMAP).
  std::optional<std::vector<RegionArea>> sparse_areas;
  // The type of a device specific region (VFIO_REGION_INFO_CAP_TYPE).
  std::optional<Type> type;
  // Whether the pages with the MSI-X table may be mapped too
  // (VFIO_REGION_INFO_CAP_MSIX_MAPPABLE). The kernel does not protect the table
  // from a user of the mapping.
  bool msix_mappable = false;

  // Says why this region is unusable, or usable only in part. If the kernel
  // refused the query or gave an invalid answer, `size` is 0. A region of which
  // only the capabilities are invalid can be read and written but not mapped.
  absl::Status status;

  bool exists() const { return size != 0; }
  bool readable() const { return (flags & VFIO_REGION_INFO_FLAG_READ) != 0; }
  bool writable() const { return (flags & VFIO_REGION_INFO_FLAG_WRITE) != 0; }
  bool mappable() const { return (flags & VFIO_REGION_INFO_FLAG_MMAP) != 0; }

  // Returns the areas that can be mapped. These are the sparse areas or, if the
  // kernel lists none, the whole region. There are none if mappable() is false.
  std::vector<RegionArea> MapAreas() const;
};

// Calls VFIO_DEVICE_GET_REGION_INFO for region `index` of the device behind
// `device_fd`. The result's status holds any failure, because regions are named
// by index and one that fails must not shift the others. `device` is the
// device's name for messages.
VfioRegionInfo QueryRegionInfo(kernel::Syscalls* syscalls, int device_fd,
                               uint32_t index, std::string_view device);

// Returns a name for messages, such as "BAR 0", "expansion ROM", "configuration
// space" or "region 12".
std::string RegionName(uint32_t index);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_REGION_INFO_H_
