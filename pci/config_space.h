// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CONFIG_SPACE_H_
#define PASSTHRU_PCI_CONFIG_SPACE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {

// The bytes that a write changed. A write of the value that was already there
// changes nothing, whatever its width.
class ConfigWriteResult {
 public:
  struct Range {
    uint16_t offset = 0;
    uint16_t size = 0;
    friend constexpr bool operator==(Range, Range) = default;
  };

  // Returns whether any byte of the register, or of [offset, offset + size),
  // changed. A device model asks this, and never looks at the offset and width
  // of the write.
  template <typename T>
  bool Changed(ConfigReg<T> reg) const {
    return Changed(reg.offset, reg.size());
  }
  bool Changed(uint32_t offset, uint32_t size) const;

  bool any() const { return !ranges_.empty(); }
  // Ranges in ascending order. None is empty and no two are adjacent.
  absl::Span<const Range> ranges() const { return ranges_; }

 private:
  friend class ConfigSpace;
  void AddByte(uint16_t offset);

  // A write of up to four bytes changes at most two ranges.
  absl::InlinedVector<Range, 2> ranges_;
};

// A function's configuration space as software sees it. For every bit it holds
// the value, whether a guest's write reaches it, and whether a write of one
// clears it (RW1C). All other bits are read-only to the guest. The owner uses
// Get(), Set() and the functions that set masks, which bypass the masks.
//
// Accesses may have any offset, width and alignment. Bytes outside the space
// read as all ones and are not written, even if the access begins inside it.
//
// Thread-compatible.
class ConfigSpace {
 public:
  // `size` must be 256 or 4096. All values and masks start as zero.
  explicit ConfigSpace(size_t size);

  // Copies an image of 256 or 4096 bytes. All masks start as zero.
  static absl::StatusOr<ConfigSpace> FromBytes(absl::Span<const uint8_t> bytes);

  size_t size() const { return values_.size(); }
  absl::Span<const uint8_t> bytes() const { return values_; }

  // Reads on behalf of a guest. `width` must be 1 to 4.
  uint32_t Read(uint32_t offset, unsigned width) const;
  void Read(uint32_t offset, absl::Span<uint8_t> out) const;

  // Writes on behalf of a guest, byte by byte and through the masks.
  ConfigWriteResult Write(uint32_t offset, absl::Span<const uint8_t> bytes);

  template <typename T>
  T Get(ConfigReg<T> reg) const {
    return ReadRegister(bytes(), reg);
  }
  template <typename T>
  void Set(ConfigReg<T> reg, T value) {
    WriteRegister(absl::MakeSpan(values_), reg, value);
  }
  void SetBytes(uint32_t offset, absl::Span<const uint8_t> bytes);

  // Sets the bits that a guest may write.
  template <typename T>
  void SetMask(ConfigReg<T> reg, RawOf<T> mask) {
    StoreLittleEndian(absl::MakeSpan(write_masks_), reg.offset, mask);
  }
  void SetMaskBytes(uint32_t offset, absl::Span<const uint8_t> masks);
  template <typename T>
  RawOf<T> GetMask(ConfigReg<T> reg) const {
    return LoadLittleEndian<RawOf<T>>(write_masks_, reg.offset);
  }
  absl::Span<const uint8_t> masks() const { return write_masks_; }

  // Sets the bits that a guest's write of one clears. This takes precedence for
  // a bit that is in both masks.
  template <typename T>
  void SetWriteOneToClear(ConfigReg<T> reg, RawOf<T> mask) {
    StoreLittleEndian(absl::MakeSpan(clear_masks_), reg.offset, mask);
  }

 private:
  std::vector<uint8_t> values_;
  std::vector<uint8_t> write_masks_;
  std::vector<uint8_t> clear_masks_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CONFIG_SPACE_H_
