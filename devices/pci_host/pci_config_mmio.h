// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_MMIO_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_MMIO_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/pci_host/pci_segment.h"

namespace passthru::pci_host {

// The enhanced configuration access mechanism (PCIe 5.0, 7.2.2). It has 4 KiB
// of memory for each function of buses 0 to bus_count - 1, which is 1 MiB for
// each bus. An access may have any width and alignment. An 8-byte access
// becomes two dword accesses, the lower first.
//
// Thread-safe.
class PciConfigMmio final : public bus::BusDevice {
 public:
  static constexpr uint64_t kBytesPerBus = 1 << 20;

  // `bus_count` must be 1 to 256.
  PciConfigMmio(std::shared_ptr<PciSegment> segment, unsigned bus_count);

  // The size of the guest memory range for which the VMM registers this device.
  uint64_t size() const { return size_; }

  std::string_view name() const override { return "PCI ECAM"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const std::shared_ptr<PciSegment> segment_;
  const uint64_t size_;
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_MMIO_H_
