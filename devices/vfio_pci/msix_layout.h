// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_MSIX_LAYOUT_H_
#define PASSTHRU_DEVICES_VFIO_PCI_MSIX_LAYOUT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/msix_capability.h"

namespace passthru::vfio_pci {

// Where the guest finds the MSI-X structures of a device. A plain value.
struct MsixLayout {
  // The device's capability, with the PBA where the guest is told it is. The
  // number of vectors is the device's.
  pci::MsixCapability shown;
  // The number of vectors whose entries the PBA leaves room for.
  uint16_t max_vectors = 0;
  // Why the PBA is not where the device says, and where it is. Empty if it is
  // where the device says.
  std::string moved;
};

// Decides where the guest finds the MSI-X structures. The table stays where the
// device has it. So does the PBA, unless it lies outside of its BAR or overlaps
// the table, as on some devices. Both structures are emulated, so the guest
// loses nothing if its PBA is elsewhere. But at no other place may it cover
// registers of the device. Two places have none:
//
//  - the rest of the 4 KiB pages of the table, which a device uses for nothing
//    but MSI-X structures (PCI 3.0 6.8.2). First choice is the place behind the
//    table, and the second the place in front of it.
//  - the end of the table. The vectors whose entries are there are not shown.
//
// Returns kInvalidArgument if the table itself lies outside of its BAR, or if
// no vector is left. `bar_sizes` is as for pci::MsixCapability::Validate().
absl::StatusOr<MsixLayout> PlanMsix(const pci::MsixCapability& device,
                                    absl::Span<const uint64_t> bar_sizes);

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_MSIX_LAYOUT_H_
