// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_IOMMU_INFO_H_
#define PASSTHRU_DEVICES_VFIO_IOMMU_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"

namespace passthru::vfio {

// Addresses that devices can use, both ends included as in struct
// vfio_iova_range: the last one may be the last there is.
struct IovaRange {
  memory::Iova first;
  memory::Iova last;

  friend bool operator==(const IovaRange&, const IovaRange&) = default;
};

// What the IOMMU of a container can do (struct vfio_iommu_type1_info and its
// capabilities). It narrows as groups are attached. A value.
struct IommuInfo {
  // struct vfio_iommu_type1_info_cap_migration.
  struct Migration {
    uint64_t page_size_bitmap = 0;
    uint64_t max_dirty_bitmap_bytes = 0;
  };

  // Bit n: pages of 2^n bytes. The lowest one is what mappings are aligned to;
  // without it the page size of the host is.
  uint64_t page_sizes = 0;
  uint64_t min_page_size = 0;
  // In ascending order. Absent from a kernel that does not tell (before 5.4):
  // then the kernel still refuses what does not fit.
  std::optional<std::vector<IovaRange>> iova_ranges;
  // Mappings that can still be made (vfio_iommu_type1.dma_entry_limit).
  std::optional<uint32_t> dma_available;
  std::optional<Migration> migration;

  // Whether [iova, iova + size) lies in one range; size is not 0.
  bool Allows(memory::Iova iova, uint64_t size) const;

  // "[0x0, 0xfedfffff] [0xfef00000, 0x7fffffffff]", for messages.
  std::string RangesToString() const;
};

// VFIO_IOMMU_GET_INFO of a container with an IOMMU set. A capability chain or
// a range that makes no sense is DataLoss: addresses that the hardware cannot
// reach must not be handed to a guest on a guess.
absl::StatusOr<IommuInfo> QueryIommuInfo(kernel::Syscalls* syscalls,
                                         int container_fd);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_IOMMU_INFO_H_
