// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSIX_TABLE_H_
#define PASSTHRU_PCI_MSIX_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {

// What a write to the table changed about one vector. A write of the value that
// was already there changes nothing.
struct MsixVectorChange {
  VectorIndex vector;
  bool message = false;  // Address or data.
  bool mask = false;
  friend constexpr bool operator==(const MsixVectorChange&,
                                   const MsixVectorChange&) = default;
};
// One element for each changed vector, in ascending order.
using MsixTableChange = absl::InlinedVector<MsixVectorChange, 2>;

// The contents of an MSI-X table (PCI 3.0 6.8.2.6 to 6.8.2.9). This class only
// stores them, and its owner must act on changes. After construction and
// Reset() every vector is masked and all else is zero.
//
// An access may have any width and alignment. The specification allows software
// only aligned double words and quadwords, but other accesses must not corrupt
// anything. Offsets are relative to the table. Bytes outside the table read as
// all ones and are not written. Reserved bits, and the low two bits of an
// address, stay zero.
//
// Thread-compatible.
class MsixTable {
 public:
  static constexpr uint32_t kEntrySize = 16;

  // `vectors` must be 1 to 2048.
  explicit MsixTable(uint16_t vectors);

  void Read(uint32_t offset, absl::Span<uint8_t> out) const;
  MsixTableChange Write(uint32_t offset, absl::Span<const uint8_t> bytes);
  void Reset();

  uint16_t size() const {
    return static_cast<uint16_t>(bytes_.size() / kEntrySize);
  }

  // `vector` must be below size().
  MsiMessage message(VectorIndex vector) const;
  bool masked(VectorIndex vector) const;

 private:
  uint32_t EntryOffset(VectorIndex vector) const;

  std::vector<uint8_t> bytes_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSIX_TABLE_H_
