// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_BAR_AREA_H_
#define PASSTHRU_DEVICES_VFIO_PCI_BAR_AREA_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "passthru/devices/vfio/region_info.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/msix_capability.h"

namespace passthru::vfio_pci {

// Whether a part of a BAR is mapped into the guest and, if it is not, why.
enum class BarAreaKind : uint8_t {
  kMapped,         // the guest accesses the device without an exit
  kIoPorts,        // ports cannot be mapped
  kSubPage,        // the BAR is smaller than a host page, which others share
  kNotMappable,    // the kernel does not offer it to mmap
  kOutsideSparse,  // the kernel offers only other parts of the region
  kMsixTable,      // holds the MSI-X table, which is emulated
  kMsixPba,        // holds the pending bits, which are emulated
  kMapFailed,      // mmap failed
};
std::string_view Explain(BarAreaKind kind);

// Bytes [offset, offset + size) of a BAR, all treated alike. A plain value. A
// mapped area is whole pages, or a BAR that is smaller than a page. The kernel
// maps that one with all of its page.
struct BarArea {
  uint64_t offset = 0;
  uint64_t size = 0;
  BarAreaKind kind = BarAreaKind::kNotMappable;

  bool mapped() const { return kind == BarAreaKind::kMapped; }
  friend bool operator==(const BarArea&, const BarArea&) = default;
};

// Partitions `bar` into areas that are sorted by offset and leave no gaps.
// Adjacent areas differ in kind, except mapped ones, which stay as the kernel
// offers them. Each mapped area lies within one of the region's MapAreas().
// `msix` is the device's MSI-X capability if it has one, whether or not the
// guest is shown it. The pages that hold its table are never mapped, because
// through them a guest could redirect the device's interrupts.
std::vector<BarArea> PlanBarAreas(
    const pci::Bar& bar, const vfio::VfioRegionInfo& region,
    const std::optional<pci::MsixCapability>& msix, uint64_t page_size);

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_AREA_H_
