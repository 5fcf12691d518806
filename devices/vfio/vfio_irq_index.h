// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_IRQ_INDEX_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_IRQ_INDEX_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::vfio {

// The host vectors of one interrupt type of a device, which it sets with
// VFIO_DEVICE_SET_IRQS.
//
// Keeps no state. Each call is one system call, and callers must serialize
// them.
class VfioIrqIndex final : public interrupts::HostVectors {
 public:
  // `index` is VFIO_PCI_MSI_IRQ_INDEX or VFIO_PCI_MSIX_IRQ_INDEX. `device` must
  // outlive it.
  VfioIrqIndex(const VfioDevice* device, uint32_t index)
      : device_(device), index_(index) {}

  uint32_t count() const override { return device_->irq(index_).count; }
  bool dynamic() const override { return !device_->irq(index_).noresize(); }
  absl::StatusOr<uint32_t> Set(uint32_t start,
                               absl::Span<const int> event_fds) override;
  absl::Status Disable() override;

 private:
  const VfioDevice* const device_;
  const uint32_t index_;
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_IRQ_INDEX_H_
