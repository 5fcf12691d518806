// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSIX_PBA_H_
#define PASSTHRU_PCI_MSIX_PBA_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {

// The layout of an MSI-X Pending Bit Array (PCI 3.0 6.8.2.10). It has one bit
// for each vector, in whole quadwords, and its unused bits are zero. This class
// holds no state, because Read() asks its caller which vectors are pending.
// Software does not write the array.
//
// Immutable.
class MsixPba {
 public:
  // `vectors` must be 1 to 2048.
  explicit MsixPba(uint16_t vectors);

  uint32_t size_bytes() const { return (vectors_ + 63u) / 64 * 8; }

  // Reads with any width and alignment, at an offset relative to the array.
  // Bytes outside the array read as all ones. Calls `pending` once for each
  // byte read that has vectors, in ascending order. It returns the pending bits
  // of eight vectors from its argument on, with that of the first in bit 0.
  void Read(uint32_t offset, absl::Span<uint8_t> out,
            absl::FunctionRef<uint8_t(VectorIndex)> pending) const;

 private:
  uint16_t vectors_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSIX_PBA_H_
