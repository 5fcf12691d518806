// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_BAR_INDEX_H_
#define PASSTHRU_PCI_BAR_INDEX_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace passthru::pci {

// The index of a base address register within a function. It is 0 to 5 for the
// BARs and 6 for the expansion ROM, as in the kernel's VFIO interface. No other
// number can be held.
//
// An immutable value.
class BarIndex {
 public:
  static constexpr uint8_t kRomValue = 6;
  static constexpr uint8_t kCount = 7;  // BAR 0 to 5 and the ROM.

  constexpr BarIndex() = default;
  // `value` must be below kCount. Use FromNumber() for a number that a device,
  // a guest or a file chose.
  constexpr explicit BarIndex(uint8_t value)
      : value_(value < kCount ? value : Invalid(value)) {}

  // Returns std::nullopt unless `number` is the index of a BAR or of the ROM.
  static constexpr std::optional<BarIndex> FromNumber(uint64_t number) {
    if (number >= kCount) return std::nullopt;
    return BarIndex(static_cast<uint8_t>(number));
  }

  static constexpr BarIndex Rom() { return BarIndex(kRomValue); }

  constexpr uint8_t value() const { return value_; }
  constexpr bool is_rom() const { return value_ == kRomValue; }

  friend constexpr auto operator<=>(BarIndex, BarIndex) = default;

  template <typename H>
  friend H AbslHashValue(H h, BarIndex index) {
    return H::combine(std::move(h), index.value_);
  }

  // Appends "BAR0" to "BAR5", or "ROM".
  template <typename Sink>
  friend void AbslStringify(Sink& sink, BarIndex index) {
    sink.Append(index.ToString());
  }
  std::string ToString() const;

 private:
  // Is not constexpr, so that a wrong constant does not compile. At run time it
  // terminates the program.
  [[noreturn]] static uint8_t Invalid(uint8_t value);

  uint8_t value_ = 0;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_BAR_INDEX_H_
