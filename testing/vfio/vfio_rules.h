// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_VFIO_RULES_H_
#define PASSTHRU_TESTING_VFIO_VFIO_RULES_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// What VFIO answers differently in the kernels that a FakeKernel can stand for.
// Everything not named here was measured to be the same in all of them.
struct VfioRules {
  // VFIO_CHECK_EXTENSION(VFIO_TYPE1_NESTING_IOMMU).
  bool nesting_extension = true;
  // VFIO_GROUP_SET_CONTAINER with a descriptor that is no container.
  int not_a_container_error = EBADFD;
  // MAP_DMA and UNMAP_DMA of a range that wraps.
  int wrap_error = EINVAL;
  // Whether MSI-X vectors can be added while MSI-X is on. Needs interrupt
  // remapping too. Without it MSI-X shows VFIO_IRQ_INFO_NORESIZE.
  bool dynamic_msix = true;
  // SET_IRQS for MSI and MSI-X that reaches beyond the vectors enabled: whether
  // it is refused before anything is done, or vector by vector.
  bool irq_block_checked_first = false;
  // To what vfio_info_cap_add() rounds the size of a capability up.
  size_t info_capability_alignment = 8;
  // The largest access that a read or write of a region is split into.
  size_t max_region_access = 8;
  // VFIO_DEVICE_PCI_HOT_RESET: whether count 0 is refused before the question
  // whether there is a slot or bus to reset.
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
