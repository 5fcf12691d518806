// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/region_info.h"

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/info_query.h"

namespace passthru::vfio {
namespace {

// Parses struct vfio_region_info_cap_sparse_mmap after its header, which is u32
// nr_areas, u32 reserved and struct vfio_region_sparse_mmap_area[].
absl::Status ParseSparseMmap(absl::Span<const uint8_t> payload,
                             VfioRegionInfo* region) {
  uint32_t count = 0;
  if (!ReadPayload(payload, 0, &count)) {
    return absl::DataLossError("the sparse mmap capability is truncated");
  }
  std::vector<RegionArea>& areas = region->sparse_areas.has_value()
                                       ? *region->sparse_areas
                                       : region->sparse_areas.emplace();
  for (uint32_t i = 0; i < count; ++i) {
    vfio_region_sparse_mmap_area area = {};
    if (!ReadPayload(payload, 8 + size_t{i} * sizeof(area), &area)) {
      return absl::DataLossError(absl::StrFormat(
          "the sparse mmap capability has room for %d of its %d areas", i,
          count));
    }
    if (area.offset > region->size || area.size > region->size - area.offset ||
        !kernel::IsPageAligned(area.offset) ||
        !kernel::IsPageAligned(area.size)) {
      return absl::DataLossError(absl::StrFormat(
          "the sparse mmap area at 0x%x of 0x%x bytes is not made of pages of "
          "the region of 0x%x bytes",
          area.offset, area.size, region->size));
    }
    if (area.size != 0) areas.push_back({area.offset, area.size});
  }
  return absl::OkStatus();
}

absl::Status ParseCapabilities(const InfoAnswer<vfio_region_info>& answer,
                               VfioRegionInfo* region) {
  const InfoCapabilities capabilities = WalkInfoCapabilities(
      answer.bytes, answer.info.cap_offset, sizeof(vfio_region_info));
  for (const InfoCapability& capability : capabilities.entries) {
    switch (capability.id) {
      case VFIO_REGION_INFO_CAP_SPARSE_MMAP: {
        PASSTHRU_RETURN_IF_ERROR(ParseSparseMmap(capability.payload, region));
        break;
      }
      case VFIO_REGION_INFO_CAP_TYPE: {
        VfioRegionInfo::Type type;
        if (!ReadPayload(capability.payload, 0, &type)) {
          return absl::DataLossError("the type capability is truncated");
        }
        region->type = type;
        break;
      }
      case VFIO_REGION_INFO_CAP_MSIX_MAPPABLE:
        region->msix_mappable = true;
        break;
      default:
        break;  // Nothing here uses the others (NVLink).
    }
  }
  if (!capabilities.malformed.empty()) {
    return absl::DataLossError(capabilities.malformed);
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<RegionArea> VfioRegionInfo::MapAreas() const {
  if (!mappable() || size == 0) return {};
  if (sparse_areas.has_value()) return *sparse_areas;
  return {{.offset = 0, .size = size}};
}

VfioRegionInfo QueryRegionInfo(kernel::Syscalls* syscalls, int device_fd,
                               uint32_t index, std::string_view device) {
  VfioRegionInfo region;
  region.index = index;
  const std::string what =
      absl::StrFormat("VFIO_DEVICE_GET_REGION_INFO(index=%d, %s) on %s", index,
                      RegionName(index), device);
  vfio_region_info inputs = {};
  inputs.index = index;
  const absl::StatusOr<InfoAnswer<vfio_region_info>> answer =
      QueryInfo(syscalls, device_fd, VFIO_DEVICE_GET_REGION_INFO, inputs, what);
  if (!answer.ok()) {
    region.status = answer.status();
    return region;
  }
  const vfio_region_info& info = answer->info;
  // Every byte must have a file offset that pread(2) accepts.
  constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();
  if (info.offset > kMaxOffset || info.size > kMaxOffset - info.offset) {
    region.status = absl::DataLossError(absl::StrFormat(
        "%s: 0x%x bytes at offset 0x%x exceed what a file offset can say", what,
        info.size, info.offset));
    return region;
  }
  region.flags = info.flags;
  region.size = info.size;
  region.offset = info.offset;
  if ((info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0) {
    const absl::Status parsed = ParseCapabilities(*answer, &region);
    if (!parsed.ok()) {
      // The mappable parts are unknown, so none may be mapped.
      region.flags &= ~static_cast<uint32_t>(VFIO_REGION_INFO_FLAG_MMAP);
      region.sparse_areas.reset();
      region.msix_mappable = false;
      region.status =
          absl::DataLossError(absl::StrCat(what, ": ", parsed.message()));
    }
  }
  return region;
}

std::string RegionName(uint32_t index) {
  if (index <= VFIO_PCI_BAR5_REGION_INDEX) return absl::StrCat("BAR ", index);
  switch (index) {
    case VFIO_PCI_ROM_REGION_INDEX:
      return "expansion ROM";
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return "configuration space";
    case VFIO_PCI_VGA_REGION_INDEX:
      return "VGA";
    default:
      return absl::StrCat("region ", index);
  }
}

}  // namespace passthru::vfio
