// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSIX_CAPABILITY_H_
#define PASSTHRU_PCI_MSIX_CAPABILITY_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"

// The MSI-X capability (PCI 3.0 6.8.2, PCIe 6.0 7.7.2).

namespace passthru::pci {

// Message Control for MSI-X (PCI 3.0 6.8.2.3).
struct MsixControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<MsixControl, 15> kEnable{};
  static constexpr Field<MsixControl, 14> kFunctionMask{};
  // Encoded as N-1. See vector_count().
  static constexpr Field<MsixControl, 10, 0> kTableSize{};

  constexpr uint16_t vector_count() const {
    return static_cast<uint16_t>(kTableSize.Get(*this) + 1);
  }
  friend constexpr bool operator==(MsixControl, MsixControl) = default;
};

// Table Offset/BIR and PBA Offset/BIR (PCI 3.0 6.8.2.4 and 6.8.2.5). The offset
// is the register with its low three bits cleared. It is not shifted.
struct MsixLocation {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<MsixLocation, 2, 0> kBir{};
  constexpr uint32_t offset() const { return raw & ~uint32_t{7}; }
  // Returns a location. `offset` must be a multiple of 8.
  static constexpr MsixLocation At(BarIndex bar, uint32_t offset) {
    return {.raw = offset | bar.value()};
  }
  friend constexpr bool operator==(MsixLocation, MsixLocation) = default;
};

// The location of a function's MSI-X structures, and its number of vectors.
//
// Immutable after Parse().
class MsixCapability {
 public:
  static constexpr uint16_t kSize = 12;
  static constexpr uint16_t kMaxVectors = 2048;
  static constexpr uint32_t kEntrySize = 16;

  // Offsets are relative to the capability.
  static constexpr ConfigReg<MsixControl> kControl{0x02};
  static constexpr ConfigReg<MsixLocation> kTable{0x04};
  static constexpr ConfigReg<MsixLocation> kPba{0x08};

  // Reads the capability from an image of the configuration space. Fails if
  // there is no MSI-X capability at `offset`, if the capability crosses 0x100
  // or the end of the image, or if a BIR names no BAR.
  static absl::StatusOr<MsixCapability> Parse(absl::Span<const uint8_t> config,
                                              uint8_t offset);

  // Returns OK if table and PBA lie inside their BARs and do not overlap.
  // `bar_sizes` holds at least six sizes in order of index. It must hold 0
  // where there is no BAR, for the upper half of a 64-bit BAR, and for an I/O
  // BAR, which cannot hold the structures.
  absl::Status Validate(absl::Span<const uint64_t> bar_sizes) const;

  // Returns OK if the table lies inside its BAR, wherever the PBA is.
  // `bar_sizes` is as for Validate().
  absl::Status ValidateTable(absl::Span<const uint64_t> bar_sizes) const;

  // Returns this capability with its PBA at `location`. The BIR of `location`
  // must be below 6.
  MsixCapability WithPba(MsixLocation location) const;

  uint8_t offset() const { return offset_; }
  // The number of vectors, 1 to 2048.
  uint16_t table_size() const { return table_size_; }

  BarIndex table_bar() const { return table_bar_; }
  uint32_t table_offset() const { return table_offset_; }
  uint32_t table_bytes() const { return table_size_ * kEntrySize; }

  BarIndex pba_bar() const { return pba_bar_; }
  uint32_t pba_offset() const { return pba_offset_; }
  // One bit for each vector, in whole quadwords (PCI 3.0 6.8.2.10).
  uint32_t pba_bytes() const { return (table_size_ + 63u) / 64 * 8; }

  // Returns the bits that software can write, which are enable and function
  // mask.
  static std::array<uint8_t, kSize> WriteMask();

 private:
  MsixCapability(uint8_t offset, uint16_t table_size, BarIndex table_bar,
                 uint32_t table_offset, BarIndex pba_bar, uint32_t pba_offset)
      : offset_(offset),
        table_size_(table_size),
        table_bar_(table_bar),
        table_offset_(table_offset),
        pba_bar_(pba_bar),
        pba_offset_(pba_offset) {}

  uint8_t offset_;
  uint16_t table_size_;
  BarIndex table_bar_;
  uint32_t table_offset_;
  BarIndex pba_bar_;
  uint32_t pba_offset_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSIX_CAPABILITY_H_
