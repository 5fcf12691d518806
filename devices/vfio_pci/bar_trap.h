// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_BAR_TRAP_H_
#define PASSTHRU_DEVICES_VFIO_PCI_BAR_TRAP_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/devices/vfio_pci/msix_table_trap.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {

// What a guest access to a BAR comes to where the BAR is not mapped: the
// emulated MSI-X structures, or the device. An access that crosses the edge
// between the two is split there; each part reaches the device as one read or
// write of the guest's width.
//
// Thread-safe; an access to the device takes no lock.
class BarTrap final : public bus::BusDevice {
 public:
  // `msix` is null for a device without MSI-X.
  BarTrap(std::string name, pci::BarIndex bar, DeviceRegions* regions,
          kernel::FailureLog* failures, MsixTableTrap* msix)
      : name_(std::move(name)),
        bar_(bar),
        regions_(regions),
        failure_log_(failures),
        msix_(msix) {}

  std::string_view name() const override { return name_; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

  uint64_t device_reads() const { return device_reads_; }
  uint64_t device_writes() const { return device_writes_; }
  uint64_t failures() const { return failures_; }

 private:
  void Failed(const char* what, const absl::Status& status);
  MsixTableTrap::Piece Find(uint64_t offset, uint64_t size) const;

  const std::string name_;
  const pci::BarIndex bar_;
  DeviceRegions* const regions_;
  kernel::FailureLog* const failure_log_;
  MsixTableTrap* const msix_;
  std::atomic<uint64_t> device_reads_ = 0;
  std::atomic<uint64_t> device_writes_ = 0;
  std::atomic<uint64_t> failures_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_TRAP_H_
