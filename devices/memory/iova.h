// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_IOVA_H_
#define PASSTHRU_DEVICES_MEMORY_IOVA_H_

#include "passthru/devices/memory/address.h"

namespace passthru::memory {

// An I/O virtual address, which a device uses for DMA and the IOMMU translates
// (VFIO_IOMMU_MAP_DMA's `iova`).
class Iova : public Address<Iova> {
 public:
  using Address::Address;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_IOVA_H_
