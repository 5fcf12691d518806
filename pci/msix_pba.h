// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSIX_PBA_H_
#define PASSTHRU_PCI_MSIX_PBA_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {

// The layout of an MSI-X Pending Bit Array (PCI 3.0 6.8.2.10): one bit a
// vector, in whole quadwords, unused bits zero. It holds no state: whether a
// vector is pending is asked at each read. Software does not write it.
//
// Immutable.
class MsixPba {
 public:
  // `vectors` is 1 to 2048.
  explicit MsixPba(uint16_t vectors);

  uint32_t size_bytes() const { return (vectors_ + 63u) / 64 * 8; }

  // A read of any width and alignment, at an offset relative to the array.
  // `pending` is called once for each vector whose bit is read, in ascending
  // order, and for no other. What lies outside reads as all ones.
  void Read(uint32_t offset, absl::Span<uint8_t> out,
            absl::FunctionRef<bool(VectorIndex)> pending) const;

 private:
  uint16_t vectors_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSIX_PBA_H_
