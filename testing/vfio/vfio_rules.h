// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_VFIO_RULES_H_
#define PASSTHRU_TESTING_VFIO_VFIO_RULES_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// The answers of VFIO that differ between the kernels that a FakeKernel can
// stand for. All other answers were measured to be the same.
struct VfioRules {
  // Whether VFIO_CHECK_EXTENSION(VFIO_TYPE1_NESTING_IOMMU) returns 1.
  bool nesting_extension = true;
  // The errno of VFIO_GROUP_SET_CONTAINER for a descriptor that is not a
  // container.
  int not_a_container_error = EBADFD;
  // The errno of MAP_DMA and UNMAP_DMA for a range that wraps.
  int wrap_error = EINVAL;
  // Whether the user can add MSI-X vectors while MSI-X is on, which also needs
  // interrupt remapping. If not, MSI-X shows VFIO_IRQ_INFO_NORESIZE.
  bool dynamic_msix = true;
  // Whether a SET_IRQS for MSI and MSI-X that reaches beyond the enabled
  // vectors is refused before it changes anything. If not, it is carried out
  // vector by vector.
  bool irq_block_checked_first = false;
  // The size that vfio_info_cap_add() rounds capabilities up to a multiple of.
  size_t info_capability_alignment = 8;
  // The largest access that the kernel makes for a read or write of a region.
  size_t max_region_access = 8;
  // Whether a mapping of a BAR gets entries of 2 MiB and 1 GiB where virtual
  // address and offset allow (vfio_pci_mmap_huge_fault()).
  bool huge_bar_entries = true;
  // Whether VFIO_DEVICE_PCI_HOT_RESET refuses count 0 before it checks for a
  // slot or bus to reset.
  bool hot_reset_count_first = true;
  // Whether VFIO_DEVICE_FEATURE knows 11 (DMA_BUF) and 12.
  bool features_11_and_12 = false;
};

constexpr VfioRules RulesOf(KernelVersion version) {
  VfioRules rules;
  if (version < KernelVersion::k6_12) {
    rules.not_a_container_error = EINVAL;
    rules.dynamic_msix = false;
    rules.irq_block_checked_first = true;
    rules.info_capability_alignment = 4;
    rules.max_region_access = 4;
    rules.huge_bar_entries = false;
    rules.hot_reset_count_first = false;
  }
  if (version >= KernelVersion::k7_2) {
    rules.nesting_extension = false;
    rules.wrap_error = EOVERFLOW;
    rules.features_11_and_12 = true;
  }
  return rules;
}

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_VFIO_RULES_H_
