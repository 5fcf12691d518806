// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/dma_listener.h"

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_container.h"

namespace passthru::vfio {

absl::Status DmaListener::OnAdd(const memory::MemoryArea& area) {
  if (!Concerns(area)) return absl::OkStatus();
  absl::Status status = Map(area);
  if (status.ok()) {
    absl::MutexLock lock(&mutex_);
    mapped_[area.guest] = {.guest = area.guest,
                           .size = area.size,
                           .read_only = area.read_only,
                           .name = area.name};
    return status;
  }
  if (area.kind != memory::MemoryArea::Kind::kDeviceBar) {
    return status;
  }
  failures_.Add(absl::StrCat("other devices do not reach ", area), status);
  absl::MutexLock lock(&mutex_);
  unreachable_.insert(area.guest);
  return absl::OkStatus();
}

absl::Status DmaListener::Map(const memory::MemoryArea& area) {
  const memory::Iova iova(area.guest.value());
  const IommuInfo info = container_->info();
  if (!info.Allows(iova, area.size)) {
    return absl::OutOfRangeError(absl::StrCat(
        area,
        " does not lie in one of the address ranges that the devices' "
        "IOMMU translates, ",
        info.RangesToString(), ": place it elsewhere"));
  }
  return container_->MapDma(iova, area.size, area.host, /*read=*/true,
                            /*write=*/!area.read_only);
}

absl::Status DmaListener::OnRemove(const memory::MemoryArea& area) {
  if (!Concerns(area)) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    if (unreachable_.erase(area.guest) != 0) return absl::OkStatus();
  }
  PASSTHRU_RETURN_IF_ERROR(
      container_->UnmapDma(memory::Iova(area.guest.value()), area.size));
  absl::MutexLock lock(&mutex_);
  mapped_.erase(area.guest);
  return absl::OkStatus();
}

std::vector<DmaMapping> DmaListener::Mappings() const {
  absl::MutexLock lock(&mutex_);
  std::vector<DmaMapping> mappings;
  for (const auto& [guest, mapping] : mapped_) mappings.push_back(mapping);
  return mappings;
}

size_t DmaListener::unreachable_bars() const {
  absl::MutexLock lock(&mutex_);
  return unreachable_.size();
}

}  // namespace passthru::vfio
