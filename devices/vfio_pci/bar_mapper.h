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
#include "passthru/devices/vfio_pci/bar_retries.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/pci/bar.h"

namespace passthru::vfio_pci {

struct BarAreaReport {
  BarArea area;
  // Whether the guest now accesses this mapped area without an exit. False
  // while the BAR does not decode and if the memory slot was refused.
  bool in_guest = false;
  // The kernel's refusal to map the area, or to make or delete its slot. Empty
  // if there was none.
  std::string refused;
  // Whether a slot that should have gone could not be deleted. The guest still
  // reaches the device at an earlier address of the BAR, or instead of what
  // else is in the page.
  bool stale_slot = false;
  // Why this mapped area, which is smaller than a page, has no slot. This is no
  // failure. Empty if it has one, and while the BAR is not placed.
  std::string shares_page;
};

struct BarReport {
  pci::Bar bar;  // with the address that the register holds now
  // Whether the BAR is decoded and placed at bar.address.
  bool placed = false;
  std::string problem;  // why it is not placed although decode is on
  std::vector<BarAreaReport> areas;
};

// The address at which each BAR should answer, by index. A BAR that does not
// decode has none.
using BarAddresses = std::array<std::optional<uint64_t>, 6>;

// The BARs of one device in the guest's address spaces. Each BAR that decodes
// is a range of its address space whose accesses trap. The areas of the BAR
// that are mapped are also guest memory, and an access to a memory slot never
// reaches the range. If a slot is refused, its area traps and everything else
// works as before.
//
// A mapped BAR smaller than a page has a slot of one page, which would hide
// what else the guest has there. So it has one only while it is alone in a page
// of the guest (bus::AddressSpace::HoldPages()). QEMU does the same
// (vfio_sub_page_bar_update_mapping()).
//
// The constructor makes the host mappings, which stay until Unmap(). VFIO
// allows mapping while the device does not decode, and a mapping that is
// touched only while decode is on never faults.
//
// The owner changes BARs in three steps. Retract() removes what will no longer
// be there, then the owner writes to the device, then Place() adds what is
// there now.
//
// Thread-compatible. Callers hold the VM's layout lock. Retract(), Place()
// and Unmap() call the address spaces and the guest memory, so their callers
// must not hold a device lock.
class BarMapper final : private BarRetries::Waiter, private bus::PageHolder {
 public:
  struct Options {
    std::string name;  // prefix of the memory areas' names
    kernel::FailureLog* failures = nullptr;
    DeviceRegions* regions = nullptr;
    bus::AddressSpace* mmio = nullptr;
    bus::AddressSpace* pio = nullptr;
    memory::GuestMemory* memory = nullptr;
    // How many bits of a memory address the guest's CPUs have. A BAR beyond
    // them answers nowhere.
    unsigned physical_address_bits = 52;
    // The other devices of the VM, or null. Needed until Unmap().
    BarRetries* retries = nullptr;
  };
  // A BAR, its areas (see PlanBarAreas()), and the handler of its traps.
  struct Bar {
    pci::Bar bar;
    std::vector<BarArea> areas;
    std::shared_ptr<bus::BusDevice> trap;
    // Whether the kernel lets nobody write to the BAR. The guest then reads the
    // mapped areas without an exit, and its writes are trapped.
    bool read_only = false;
  };

  // Maps the areas of kind kMapped. An area that the kernel refuses to map is
  // trapped instead, so this does not fail.
  BarMapper(Options options, std::vector<Bar> bars);
  BarMapper(const BarMapper&) = delete;
  BarMapper& operator=(const BarMapper&) = delete;

  // Calls Unmap().
  ~BarMapper() override;

  // Removes every BAR that is not at its desired address. Once this returns, no
  // vCPU is inside what was removed. Returns the first failure. A slot that
  // cannot be deleted is retried at every call, and its memory stays mapped.
  absl::Status Retract(const BarAddresses& desired);

  // Places BARs at their desired addresses. If an address makes no sense (as
  // happens while software sizes a BAR) or is refused, the BAR, or its mapped
  // areas, stay unplaced. Every call retries what was refused before, because
  // the obstacle may no longer exist. If Retract() has freed a place, the other
  // devices of the VM then try again, too.
  void Place(const BarAddresses& desired);

  // Retracts all BARs and unmaps them. A slot that cannot be deleted even now
  // is handed to the guest memory together with its mapping.
  absl::Status Unmap();

  // Reports every BAR. `bars` holds the addresses that are in the registers
  // now.
  std::vector<BarReport> Describe(absl::Span<const pci::Bar> bars) const;
  uint64_t placements() const { return placements_; }
  uint64_t refused() const { return refused_; }
  uint64_t failures() const { return failures_; }

 private:
  struct Area {
    BarArea area;
    std::shared_ptr<const kernel::MappedRegion> mapping;  // null if trapped
    std::optional<memory::AreaId> slot;
    uint64_t slot_address = 0;  // the BAR's when the slot was made
    std::string refused;
    // Whether the slot had to make way for another range and could not be
    // deleted.
    bool in_the_way = false;
    std::string shares_page;

    // Whether the mapping has more of the page than the BAR.
    bool smaller_than_page() const { return area.size < mapping->size(); }
  };
  struct Entry {
    pci::Bar bar;
    std::vector<Area> areas;
    std::shared_ptr<bus::BusDevice> trap;
    bool read_only = false;
    std::optional<uint64_t> address;  // where the BAR answers
    // Where it should answer, if the address space refused that.
    std::optional<uint64_t> refused_address;
    bus::RangeHandle range;
    std::string problem;
  };

  // Returns whether the BAR is at its desired address and no slot remains at
  // an earlier one.
  static bool Stays(const Entry& entry, const BarAddresses& desired);
  void MapAreas(Entry& entry);
  absl::Status RetractEntry(Entry& entry);
  absl::Status RemoveSlot(const Entry& entry, Area& area);
  void PlaceRange(Entry& entry, uint64_t address);
  void PlaceAreas(Entry& entry);
  void PlaceArea(const Entry& entry, Area& area);
  // Returns whether the area may have a slot of whole pages at the BAR's
  // address.
  bool HasItsPages(const Entry& entry, Area& area);
  void RetryRefused() override;
  void LeavePages(bus::RangeHandle own) override;
  // Lets the other devices try again if this one has freed a place.
  void TellOthers();

  const Options options_;
  std::vector<Entry> entries_;
  bool waits_ = false;  // Whether options_.retries has this device.
  bool freed_ = false;  // Whether a place became free since TellOthers().
  uint64_t placements_ = 0;
  uint64_t refused_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_MAPPER_H_
