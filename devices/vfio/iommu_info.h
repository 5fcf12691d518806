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

// A range of addresses that devices can use. As in struct vfio_iova_range, it
// includes `last`, so that it can end at the last 64-bit address.
struct IovaRange {
  memory::Iova first;
  memory::Iova last;

  friend bool operator==(const IovaRange&, const IovaRange&) = default;
};

// The limits of a container's IOMMU (struct vfio_iommu_type1_info and its
// capabilities). They become narrower as groups are attached. A value type.
struct IommuInfo {
  // struct vfio_iommu_type1_info_cap_migration.
  struct Migration {
    uint64_t page_size_bitmap = 0;
    uint64_t max_dirty_bitmap_bytes = 0;
  };

  // Bit n is set if the IOMMU has pages of 2^n bytes. 0 if the kernel does not
  // say.
  uint64_t page_sizes = 0;
  // The alignment of mappings in bytes, which is the smallest of `page_sizes`,
  // or the host's page size if they are unknown.
  uint64_t min_page_size = 0;
  // The usable ranges in ascending order. Absent on kernels before 5.4, which
  // do not report them but still refuse mappings outside them.
  std::optional<std::vector<IovaRange>> iova_ranges;
  // How many more mappings are possible (vfio_iommu_type1.dma_entry_limit).
  std::optional<uint32_t> dma_available;
  std::optional<Migration> migration;

  // Returns whether [iova, iova + size) lies in one range. `size` must be > 0.
  bool Allows(memory::Iova iova, uint64_t size) const;

  // Returns the ranges for messages, such as "[0x0, 0xfedfffff] [0xfef00000,
  // 0x7fffffffff]", or "(unknown)".
  std::string RangesToString() const;
};

// Calls VFIO_IOMMU_GET_INFO on a container whose IOMMU is set. Returns DataLoss
// if a capability or a range is invalid, because a VMM that guesses could give
// the guest addresses that the hardware cannot reach.
absl::StatusOr<IommuInfo> QueryIommuInfo(kernel::Syscalls* syscalls,
                                         int container_fd);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_IOMMU_INFO_H_
