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

// The handler of guest accesses to the parts of a BAR that are not mapped. It
// passes them to the emulated MSI-X structures or to the device, and splits an
// access that crosses the boundary between the two. Each part for the device is
// one system call. The kernel makes it one access to the device if it is
// aligned and has 1, 2 or 4 bytes. An aligned part of 8 bytes is one access
// only since Linux 6.11, and two before (vfio_pci_core_do_io_rw()).
//
// Thread-safe. An access to the device takes no lock.
class BarTrap final : public bus::BusDevice {
 public:
  // `msix` is null if the guest is shown no MSI-X.
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
