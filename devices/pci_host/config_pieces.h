// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_CONFIG_PIECES_H_
#define PASSTHRU_DEVICES_PCI_HOST_CONFIG_PIECES_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace passthru::pci_host {

// Cuts [offset, offset + length) into the fewest naturally aligned pieces of 1,
// 2 or 4 bytes, and calls visit(offset, position, width) for each piece, low
// addresses first. `position` counts from the start of the access.
template <typename Visitor>
void ForEachConfigPiece(uint64_t offset, size_t length, Visitor visit) {
  for (size_t position = 0; position < length;) {
    const uint64_t at = offset + position;
    const size_t alignment = at % 4 == 0 ? 4 : at % 2 == 0 ? 2 : 1;
    const size_t width = std::min(alignment, std::bit_floor(length - position));
    visit(at, position, static_cast<unsigned>(width));
    position += width;
  }
}

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_CONFIG_PIECES_H_
