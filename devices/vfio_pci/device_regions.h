// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REGIONS_H_
#define PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REGIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {

// Access to the registers of the host device. It is the part of
// vfio::VfioDevice that this package needs.
//
// Thread-safe. Each call makes one system call, and a failure carries its
// errno.
class DeviceRegions {
 public:
  virtual ~DeviceRegions() = default;

  virtual absl::Status ReadConfig(uint16_t offset,
                                  absl::Span<uint8_t> data) = 0;
  virtual absl::Status WriteConfig(uint16_t offset,
                                   absl::Span<const uint8_t> data) = 0;

  virtual absl::Status ReadBar(pci::BarIndex bar, uint64_t offset,
                               absl::Span<uint8_t> data) = 0;
  virtual absl::Status WriteBar(pci::BarIndex bar, uint64_t offset,
                                absl::Span<const uint8_t> data) = 0;
  virtual absl::StatusOr<kernel::MappedRegion> MapBar(pci::BarIndex bar,
                                                      uint64_t offset,
                                                      uint64_t size) = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REGIONS_H_
