// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_area.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace passthru::vfio_pci {
namespace {

uint64_t AlignDown(uint64_t value, uint64_t alignment) {
  return value & ~(alignment - 1);
}

// Changes the kind of [offset, end). `areas` cover the whole BAR.
void Carve(std::vector<BarArea>& areas, uint64_t offset, uint64_t end,
           BarAreaKind kind) {
  std::vector<BarArea> carved;
  for (const BarArea& area : areas) {
    const uint64_t area_end = area.offset + area.size;
    const uint64_t from = std::clamp(offset, area.offset, area_end);
    const uint64_t to = std::clamp(end, from, area_end);
    if (from > area.offset) {
      carved.push_back({area.offset, from - area.offset, area.kind});
    }
    if (to > from) carved.push_back({from, to - from, kind});
    if (area_end > to) carved.push_back({to, area_end - to, area.kind});
  }
  areas = std::move(carved);
}

void MergeNeighbours(std::vector<BarArea>& areas) {
  std::vector<BarArea> merged;
  for (const BarArea& area : areas) {
    // Areas that the kernel offers separately are mapped separately, because it
    // need not accept one mapping over two of them.
    if (!merged.empty() && merged.back().kind == area.kind && !area.mapped()) {
      merged.back().size += area.size;
    } else {
      merged.push_back(area);
    }
  }
  areas = std::move(merged);
}

}  // namespace

std::string_view Explain(BarAreaKind kind) {
  switch (kind) {
    case BarAreaKind::kMapped:
      return "mapped";
    case BarAreaKind::kIoPorts:
      return "I/O ports cannot be mapped";
    case BarAreaKind::kSubPage:
      return "smaller than a page of the host";
    case BarAreaKind::kNotMappable:
      return "the kernel does not let it be mapped";
    case BarAreaKind::kOutsideSparse:
      return "the kernel lets only other parts be mapped";
    case BarAreaKind::kMsixTable:
      return "pages of the MSI-X table, which is emulated";
    case BarAreaKind::kMsixPba:
      return "pages of the MSI-X pending bits, which are emulated";
    case BarAreaKind::kMapFailed:
      return "mmap failed";
  }
  return "?";
}

std::vector<BarArea> PlanBarAreas(
    const pci::Bar& bar, const vfio::VfioRegionInfo& region,
    const std::optional<pci::MsixCapability>& msix, uint64_t page_size) {
  const auto whole = [&bar](BarAreaKind kind) {
    return std::vector<BarArea>{{0, bar.size, kind}};
  };
  if (bar.is_io()) return whole(BarAreaKind::kIoPorts);
  const std::vector<vfio::RegionArea> mappable = region.MapAreas();
  if (mappable.empty()) {
    return whole(bar.size < page_size ? BarAreaKind::kSubPage
                                      : BarAreaKind::kNotMappable);
  }

  std::vector<BarArea> areas =
      whole(region.sparse_areas.has_value() ? BarAreaKind::kOutsideSparse
                                            : BarAreaKind::kNotMappable);
  for (const vfio::RegionArea& area : mappable) {
    if (area.offset >= bar.size) continue;
    const uint64_t size = std::min(area.size, bar.size - area.offset);
    // Round inwards to whole pages, to map only what the kernel offered.
    const uint64_t from = AlignDown(area.offset + page_size - 1, page_size);
    const uint64_t to = bar.size < page_size && size == bar.size
                            ? bar.size
                            : AlignDown(area.offset + size, page_size);
    if (from < to) Carve(areas, from, to, BarAreaKind::kMapped);
  }
  // Round outwards to the pages that hold a part of the table or the PBA.
  const auto exclude = [&](uint64_t offset, uint64_t size, BarAreaKind kind) {
    if (offset >= bar.size) return;
    const uint64_t end = std::min(offset + size, bar.size);
    Carve(areas, AlignDown(offset, page_size),
          std::min(AlignDown(end + page_size - 1, page_size), bar.size), kind);
  };
  if (msix.has_value() && msix->pba_bar() == bar.index) {
    exclude(msix->pba_offset(), msix->pba_bytes(), BarAreaKind::kMsixPba);
  }
  if (msix.has_value() && msix->table_bar() == bar.index) {
    exclude(msix->table_offset(), msix->table_bytes(), BarAreaKind::kMsixTable);
  }
  MergeNeighbours(areas);
  return areas;
}

}  // namespace passthru::vfio_pci
