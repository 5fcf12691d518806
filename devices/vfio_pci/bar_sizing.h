// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_BAR_SIZING_H_
#define PASSTHRU_DEVICES_VFIO_PCI_BAR_SIZING_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "passthru/pci/bar.h"

namespace passthru::vfio_pci {

// Tells which 64-bit BARs software is sizing, from the writes to their
// registers. Software sizes a BAR by a write of all ones to its register (PCI
// 3.0 6.2.5.1), and a 64-bit BAR half by half. While the lower half holds all
// ones, the register names a valid address below the next 4 GiB. If decode is
// on, as when Linux sizes the BARs of a device that must not be disabled, the
// BAR would be placed there, only to be taken away by the next write.
//
// An address cannot be told from a sizing value once it is in the register,
// because a BAR may well be placed at the end of 4 GiB. The written value can,
// because software writes an address with the flags of the register or with
// zeros in their place, and all flags at once are not a type of BAR.
//
// A plain value.
class BarSizing {
 public:
  // Notes a write of the guest to the configuration space. `bars` are the
  // device's BARs.
  void OnWrite(uint16_t offset, absl::Span<const uint8_t> bytes,
               absl::Span<const pci::Bar> bars);

  // Returns whether the last write to the lower half of the BAR was all ones.
  bool IsSized(pci::BarIndex index) const { return sized_[index.value()]; }

  // Notes that the register got an address by another way.
  void Clear(pci::BarIndex index) { sized_[index.value()] = false; }

 private:
  std::array<bool, pci::BarIndex::kCount> sized_ = {};
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_SIZING_H_
