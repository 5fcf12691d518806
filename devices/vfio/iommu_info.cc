// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/iommu_info.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/info_query.h"

namespace passthru::vfio {
namespace {

constexpr char kWhat[] = "VFIO_IOMMU_GET_INFO";

// Parses struct vfio_iommu_type1_info_cap_iova_range after its header, which is
// u32 nr_iovas, u32 reserved and struct vfio_iova_range[].
absl::StatusOr<std::vector<IovaRange>> ParseIovaRanges(
    absl::Span<const uint8_t> payload) {
  uint32_t count = 0;
  if (!ReadPayload(payload, 0, &count)) {
    return absl::DataLossError("the IOVA range capability is truncated");
  }
  std::vector<IovaRange> ranges;
  for (uint32_t i = 0; i < count; ++i) {
    vfio_iova_range range = {};
    if (!ReadPayload(payload, 8 + size_t{i} * sizeof(range), &range)) {
      return absl::DataLossError(absl::StrFormat(
          "the IOVA range capability has room for %d of its %d ranges", i,
          count));
    }
    if (range.start > range.end) {
      return absl::DataLossError(
          absl::StrFormat("the IOVA range [0x%x, 0x%x] ends before it begins",
                          range.start, range.end));
    }
    ranges.push_back({memory::Iova(range.start), memory::Iova(range.end)});
  }
  std::sort(
      ranges.begin(), ranges.end(),
      [](const IovaRange& a, const IovaRange& b) { return a.first < b.first; });
  return ranges;
}

absl::Status ParseCapabilities(const InfoAnswer<vfio_iommu_type1_info>& answer,
                               IommuInfo* info) {
  const InfoCapabilities capabilities = WalkInfoCapabilities(
      answer.bytes, answer.info.cap_offset, sizeof(vfio_iommu_type1_info));
  if (!capabilities.malformed.empty()) {
    return absl::DataLossError(capabilities.malformed);
  }
  for (const InfoCapability& capability : capabilities.entries) {
    switch (capability.id) {
      case VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: {
        PASSTHRU_ASSIGN_OR_RETURN(info->iova_ranges,
                                  ParseIovaRanges(capability.payload));
        break;
      }
      case VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: {
        uint32_t available = 0;
        if (!ReadPayload(capability.payload, 0, &available)) {
          return absl::DataLossError(
              "the DMA available capability is truncated");
        }
        info->dma_available = available;
        break;
      }
      case VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: {
        // The header is followed by u32 flags and by the aligned u64
        // pgsize_bitmap and u64 max_dirty_bitmap_size.
        vfio_iommu_type1_info_cap_migration raw = {};
        const size_t header = sizeof(raw.header);
        uint64_t page_sizes = 0;
        uint64_t max_dirty = 0;
        if (!ReadPayload(capability.payload,
                         offsetof(decltype(raw), pgsize_bitmap) - header,
                         &page_sizes) ||
            !ReadPayload(
                capability.payload,
                offsetof(decltype(raw), max_dirty_bitmap_size) - header,
                &max_dirty)) {
          return absl::DataLossError("the migration capability is truncated");
        }
        info->migration =
            IommuInfo::Migration{.page_size_bitmap = page_sizes,
                                 .max_dirty_bitmap_bytes = max_dirty};
        break;
      }
      default:
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IommuInfo::Allows(memory::Iova iova, uint64_t size) const {
  const uint64_t last = iova.value() + (size - 1);
  if (last < iova.value()) return false;
  if (!iova_ranges.has_value()) return true;
  return std::any_of(iova_ranges->begin(), iova_ranges->end(),
                     [&](const IovaRange& range) {
                       return range.first <= iova && last <= range.last.value();
                     });
}

std::string IommuInfo::RangesToString() const {
  if (!iova_ranges.has_value()) return "(unknown)";
  return absl::StrJoin(
      *iova_ranges, " ", [](std::string* out, const IovaRange& range) {
        absl::StrAppendFormat(out, "[0x%x, 0x%x]", range.first.value(),
                              range.last.value());
      });
}

absl::StatusOr<IommuInfo> QueryIommuInfo(kernel::Syscalls* syscalls,
                                         int container_fd) {
  PASSTHRU_ASSIGN_OR_RETURN(
      const InfoAnswer<vfio_iommu_type1_info> answer,
      QueryInfo(syscalls, container_fd, VFIO_IOMMU_GET_INFO,
                vfio_iommu_type1_info{}, kWhat));
  IommuInfo info;
  if ((answer.info.flags & VFIO_IOMMU_INFO_PGSIZES) != 0) {
    info.page_sizes = answer.info.iova_pgsizes;
  }
  info.min_page_size = info.page_sizes == 0
                           ? kernel::PageSize()
                           : info.page_sizes & (~info.page_sizes + 1);
  if ((answer.info.flags & VFIO_IOMMU_INFO_CAPS) != 0) {
    const absl::Status parsed = ParseCapabilities(answer, &info);
    if (!parsed.ok()) {
      return absl::DataLossError(
          absl::StrFormat("%s: %s", kWhat, parsed.message()));
    }
  }
  return info;
}

}  // namespace passthru::vfio
