// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_BRIDGE_WINDOWS_H_
#define PASSTHRU_PCI_BRIDGE_WINDOWS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/config_space.h"

namespace passthru::pci {

// Addresses that a bridge forwards to its secondary bus. It forwards none if
// `size` is 0. A plain value.
struct BridgeWindow {
  uint64_t base = 0;
  uint64_t size = 0;

  // Returns whether all of [address, address + length) is in the window.
  constexpr bool Contains(uint64_t address, uint64_t length) const {
    return length != 0 && address >= base && length <= size &&
           address - base <= size - length;
  }
  friend constexpr bool operator==(BridgeWindow, BridgeWindow) = default;
};

// The windows of a type 1 header (PCI to PCI Bridge 1.2 3.2.5.6 to 3.2.5.10).
// I/O windows have multiples of 4 KiB, the others of 1 MiB. The memory window
// is below 4 GiB. A plain value.
struct BridgeWindows {
  static constexpr uint64_t kIoGranule = uint64_t{4} << 10;
  static constexpr uint64_t kMemoryGranule = uint64_t{1} << 20;

  BridgeWindow io;
  BridgeWindow memory;
  BridgeWindow prefetchable;

  // Decodes the registers in an image of the configuration space. A limit
  // below its base closes a window.
  static BridgeWindows Read(absl::Span<const uint8_t> config);

  // Writes the registers, whatever their write masks are. The bits that tell
  // how wide the addresses are stay, and decide what fits. Returns
  // kInvalidArgument, and writes nothing, for a window that the registers
  // cannot hold.
  absl::Status Write(ConfigSpace& config) const;

  friend constexpr bool operator==(const BridgeWindows&,
                                   const BridgeWindows&) = default;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_BRIDGE_WINDOWS_H_
