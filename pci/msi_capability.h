// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSI_CAPABILITY_H_
#define PASSTHRU_PCI_MSI_CAPABILITY_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

// The MSI capability (PCI 3.0 6.8.1, PCIe 6.0 7.7.1).

namespace passthru::pci {

// Message Control for MSI (PCI 3.0 6.8.1.3, and PCIe 6.0 7.7.1.2 for bits 10
// and 9).
struct MsiControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<MsiControl, 10> kExtendedDataEnable{};
  static constexpr Field<MsiControl, 9> kExtendedDataCapable{};
  static constexpr Field<MsiControl, 8> kPerVectorMasking{};
  static constexpr Field<MsiControl, 7> k64Bit{};
  static constexpr Field<MsiControl, 6, 4> kMultipleMessageEnable{};   // log2
  static constexpr Field<MsiControl, 3, 1> kMultipleMessageCapable{};  // log2
  static constexpr Field<MsiControl, 0> kEnable{};
  friend constexpr bool operator==(MsiControl, MsiControl) = default;
};

// The contents of an MSI capability's registers at one moment. A plain value.
struct MsiState {
  bool enabled = false;
  // The number of vectors that software allotted, a power of two. It is at
  // least 1, even while MSI is disabled, and at most the number that the
  // function is capable of.
  uint16_t vector_count = 1;
  // The message as software programmed it. It is the message of vector 0 if the
  // low bits of the data are 0.
  MsiMessage programmed;
  // Bit n tells whether vector n is masked, or has an interrupt pending. Both
  // are 0 if the function has no per-vector masking.
  uint32_t mask_bits = 0;
  uint32_t pending_bits = 0;

  // Returns the message of one vector. The low log2(vector_count) bits of its
  // data are the vector's number, whatever software left in them (PCI 3.0
  // 6.8.3.4).
  MsiMessage message(VectorIndex vector) const;
  // Returns whether the function cannot send `vector`, because it is masked or
  // beyond the vectors allotted.
  bool masked(VectorIndex vector) const;

  friend bool operator==(const MsiState&, const MsiState&) = default;
};

// The layout of one function's MSI capability, which is one of four. The layout
// never changes, while Decode() reads the contents of its registers.
//
// Message data has 16 bits here. Of Extended Message Data (PCIe 6.0 7.7.1.2),
// only the bits in the control register are decoded, so code that shows the
// capability to a guest must leave Extended Message Data Capable clear.
//
// Immutable after Parse().
class MsiCapability {
 public:
  static constexpr uint16_t kMaxSize = 24;
  static constexpr uint16_t kMaxVectors = 32;

  // Offsets are relative to the capability.
  static constexpr ConfigReg<MsiControl> kControl{0x02};
  static constexpr ConfigReg<uint32_t> kAddress{0x04};
  static constexpr ConfigReg<uint32_t> kAddressHigh{0x08};  // 64-bit only.

  // Reads the layout from an image of the configuration space. Fails if there
  // is no MSI capability at `offset`, if the capability crosses 0x100 or the
  // end of the image, or if it declares a reserved number of vectors.
  static absl::StatusOr<MsiCapability> Parse(absl::Span<const uint8_t> config,
                                             uint8_t offset);

  uint8_t offset() const { return offset_; }
  // Returns the size in bytes, which is 10, 14 (64-bit), 20 (per-vector
  // masking) or 24 (both).
  static uint8_t SizeOf(MsiControl control);
  uint8_t size() const;
  bool is_64bit() const { return is_64bit_; }
  bool per_vector_masking() const { return per_vector_masking_; }
  // The number of vectors that the function is capable of, 1 to 32.
  uint16_t max_vectors() const { return max_vectors_; }

  // Offsets are relative to the capability.
  ConfigReg<uint16_t> data() const;
  std::optional<ConfigReg<uint32_t>> mask() const;
  std::optional<ConfigReg<uint32_t>> pending() const;

  // Decodes the capability's registers. `bytes` holds its size() bytes,
  // starting with its ID. If software enabled more vectors than the function
  // has, or used a reserved encoding, vector_count is max_vectors().
  MsiState Decode(absl::Span<const uint8_t> bytes) const;

  // Returns the bits that software can write: enable, multiple message enable,
  // address, data, and the mask bits of existing vectors. Only the first size()
  // bytes count.
  std::array<uint8_t, kMaxSize> WriteMask() const;

 private:
  MsiCapability(uint8_t offset, bool is_64bit, bool per_vector_masking,
                uint16_t max_vectors)
      : offset_(offset),
        is_64bit_(is_64bit),
        per_vector_masking_(per_vector_masking),
        max_vectors_(max_vectors) {}

  uint8_t offset_;
  bool is_64bit_;
  bool per_vector_masking_;
  uint16_t max_vectors_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSI_CAPABILITY_H_
