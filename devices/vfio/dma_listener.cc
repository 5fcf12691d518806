// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/dma_listener.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_container.h"

namespace passthru::vfio {

absl::Status DmaListener::OnAdd(const memory::MemoryArea& area) {
  if (!Concerns(area)) return absl::OkStatus();
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
  return container_->UnmapDma(memory::Iova(area.guest.value()), area.size);
}

}  // namespace passthru::vfio
