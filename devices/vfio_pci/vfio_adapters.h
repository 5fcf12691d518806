// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_VFIO_ADAPTERS_H_
#define PASSTHRU_DEVICES_VFIO_PCI_VFIO_ADAPTERS_H_

#include <linux/vfio.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/devices/vfio_pci/intx_line.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {

// Implementations of this package's narrow interfaces over a vfio::VfioDevice,
// which must outlive them. They are as thread-safe as the VfioDevice.

class VfioRegions final : public DeviceRegions {
 public:
  explicit VfioRegions(const vfio::VfioDevice* device) : device_(device) {}

  absl::Status ReadConfig(uint16_t offset, absl::Span<uint8_t> data) override {
    return device_->ReadRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, data);
  }
  absl::Status WriteConfig(uint16_t offset,
                           absl::Span<const uint8_t> data) override {
    return device_->WriteRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset, data);
  }
  absl::Status ReadBar(pci::BarIndex bar, uint64_t offset,
                       absl::Span<uint8_t> data) override {
    return device_->ReadRegion(bar.value(), offset, data);
  }
  absl::Status WriteBar(pci::BarIndex bar, uint64_t offset,
                        absl::Span<const uint8_t> data) override {
    return device_->WriteRegion(bar.value(), offset, data);
  }
  absl::StatusOr<kernel::MappedRegion> MapBar(pci::BarIndex bar,
                                              uint64_t offset,
                                              uint64_t size) override {
    return device_->MapRegion(bar.value(), offset, size);
  }

 private:
  const vfio::VfioDevice* const device_;
};

class VfioIntxHost final : public IntxHost {
 public:
  explicit VfioIntxHost(const vfio::VfioDevice* device) : device_(device) {}

  absl::Status SetTrigger(int event_fd) override {
    return device_->SetIrqEventFds(VFIO_PCI_INTX_IRQ_INDEX, 0, {event_fd})
        .status();
  }
  absl::Status SetUnmask(int event_fd) override {
    return device_->SetUnmaskEventFd(VFIO_PCI_INTX_IRQ_INDEX, event_fd);
  }
  absl::Status Disable() override {
    return device_->DisableIrq(VFIO_PCI_INTX_IRQ_INDEX);
  }

 private:
  const vfio::VfioDevice* const device_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VFIO_ADAPTERS_H_
