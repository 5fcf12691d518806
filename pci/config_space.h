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

// Which bytes a write changed. A write that stores what was there already
// changes nothing, whatever its width.
class ConfigWriteResult {
 public:
  struct Range {
    uint16_t offset = 0;
    uint16_t size = 0;
    friend constexpr bool operator==(Range, Range) = default;
  };

  // Did any byte of the register (of [offset, offset + size)) change? This,
  // and never the offset and width of the write, is what a device asks.
  template <typename T>
  bool Changed(ConfigReg<T> reg) const {
    return Changed(reg.offset, reg.size());
  }
  bool Changed(uint32_t offset, uint32_t size) const;

  bool any() const { return !ranges_.empty(); }
  // Ascending, not empty each, not adjacent to each other.
  absl::Span<const Range> ranges() const { return ranges_; }

 private:
  friend class ConfigSpace;
  void AddByte(uint16_t offset);

  // Two suffice for any write of up to four bytes.
  absl::InlinedVector<Range, 2> ranges_;
};

// A function's configuration space as software sees it: for every bit its
// value, whether a guest's write reaches it, and whether a write of one clears
// it (RW1C). Everything else is read-only to the guest. Get(), Set() and the
// masks are the owner's side and are not subject to the masks.
//
// Accesses may have any offset, width and alignment. What lies outside reads as
// all ones and is not written, also when an access crosses the end.
//
// Thread-compatible.
class ConfigSpace {
 public:
  // `size` is 256 or 4096. All values and masks are zero.
  explicit ConfigSpace(size_t size);

  // A copy of an image of 256 or 4096 bytes; all masks are zero.
  static absl::StatusOr<ConfigSpace> FromBytes(absl::Span<const uint8_t> bytes);

  size_t size() const { return values_.size(); }
  absl::Span<const uint8_t> bytes() const { return values_; }

  // A guest's read; `width` is 1 to 4.
  uint32_t Read(uint32_t offset, unsigned width) const;
  void Read(uint32_t offset, absl::Span<uint8_t> out) const;

  // A guest's write: byte by byte, through the masks.
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

  // Ones are the bits that a guest may write.
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

  // Ones are the bits that a guest's write of one clears. Where a bit is in
  // both masks, this one counts.
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
