// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_BAR_MAPPER_H_
#define PASSTHRU_DEVICES_VFIO_PCI_BAR_MAPPER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"

namespace passthru::vfio_pci {

// Where each BAR is to answer, by index: nothing while it does not decode.
using BarAddresses = std::array<std::optional<uint64_t>, 6>;

// The BARs of one device in the guest's address spaces. Each BAR that decodes
// is a range of its address space, which traps, and under it the areas that are
// mapped, as guest memory: where a slot is, the guest does not come to the
// range. So a slot that is refused degrades to trapping, and nothing else.
//
// Host mappings are made once, at Create(), and stay: VFIO lets them be made
// while the device does not decode, and what is touched only while decode is on
// never faults.
//
// A change has two halves around the write to the device: Retract() what will
// not be there any more, then the write, then Place() what is there now.
//
// Thread-compatible: called under the VM's topology mutex. It calls the address
// spaces and the guest memory, so no device lock may be held.
class BarMapper {
 public:
  struct Options {
    std::string name;  // of memory areas
    kernel::FailureLog* failures = nullptr;
    DeviceRegions* regions = nullptr;
    bus::AddressSpace* mmio = nullptr;
    bus::AddressSpace* pio = nullptr;
    memory::GuestMemory* memory = nullptr;
  };
  // A BAR, how it is treated (PlanBarAreas()), and what answers its traps.
  struct Bar {
    pci::Bar bar;
    std::vector<BarArea> areas;
    std::shared_ptr<bus::BusDevice> trap;
  };

  // Maps what is to be mapped. What cannot be is trapped instead, so this does
  // not fail.
  BarMapper(Options options, std::vector<Bar> bars);
  BarMapper(const BarMapper&) = delete;
  BarMapper& operator=(const BarMapper&) = delete;

  // As Unmap().
  ~BarMapper();

  // Takes away every BAR that is not to answer at the address it answers at.
  // Once this returns, no vCPU is inside. A slot that cannot be deleted is
  // tried again every time; its memory stays mapped.
  absl::Status Retract(const BarAddresses& desired);

  // Puts BARs where they are to answer. An address that makes no sense, as
  // software passes through while it sizes a BAR, and one that is refused leave
  // the BAR, or its mapped areas, unplaced. What was refused is tried again
  // each time: what was in its way may have gone.
  void Place(const BarAddresses& desired);

  // Retracts all and unmaps. A slot that cannot be deleted even now is left to
  // the guest memory, with its mapping.
  absl::Status Unmap();

  // `bars` are the addresses that the registers hold now.
  std::vector<BarReport> Describe(absl::Span<const pci::Bar> bars) const;
  uint64_t placements() const { return placements_; }
  uint64_t refused() const { return refused_; }
  uint64_t failures() const { return failures_; }

 private:
  struct Area {
    BarArea area;
    std::shared_ptr<const kernel::MappedRegion> mapping;  // null: trapped
    std::optional<memory::AreaId> slot;
    uint64_t slot_address = 0;  // of the BAR, when the slot was made
    std::string refused;
  };
  struct Entry {
    pci::Bar bar;
    std::vector<Area> areas;
    std::shared_ptr<bus::BusDevice> trap;
    std::optional<uint64_t> address;  // where it answers
    bus::RangeHandle range;
    std::string problem;
  };

  // Where it is to be, and with nothing left of where it was.
  static bool Stays(const Entry& entry, const BarAddresses& desired);
  void MapAreas(Entry& entry);
  absl::Status RetractEntry(Entry& entry);
  void PlaceRange(Entry& entry, uint64_t address);
  void PlaceAreas(Entry& entry);

  const Options options_;
  std::vector<Entry> entries_;
  uint64_t placements_ = 0;
  uint64_t refused_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_MAPPER_H_
