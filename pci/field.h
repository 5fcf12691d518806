// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_FIELD_H_
#define PASSTHRU_PCI_FIELD_H_

#include <climits>
#include <cstdint>
#include <type_traits>

namespace passthru::pci {

// One field of a register. It occupies bits kHigh down to kLow, which is the
// order in which specifications print them. `Register` is a struct with a
// member type `Raw`, an unsigned integer, and a member `Raw raw`:
//
//   struct MsixControl {
//     using Raw = uint16_t;
//     Raw raw = 0;
//     static constexpr Field<MsixControl, 15> kEnable{};
//     static constexpr Field<MsixControl, 10, 0> kTableSize{};
//   };
//   if (MsixControl::kEnable.Get(control)) ...
//
// The value of a single bit is a bool, and that of a wider field an unsigned
// integer. C bit-fields are not used because the compiler chooses their order.
template <typename Register, unsigned kHigh, unsigned kLow = kHigh>
struct Field {
  static_assert(kHigh >= kLow, "fields are written most significant bit first");
  static_assert(kHigh < 64, "registers are at most 64 bits wide");

  static constexpr unsigned kWidth = kHigh - kLow + 1;
  using Value =
      std::conditional_t<kWidth == 1, bool,
                         std::conditional_t<(kWidth > 32), uint64_t, uint32_t>>;

  // Returns the bits of the register that this field occupies.
  constexpr auto Mask() const {
    static_assert(kHigh < sizeof(typename Register::Raw) * CHAR_BIT,
                  "the field does not fit into its register");
    return static_cast<typename Register::Raw>(kValueMask << kLow);
  }

  constexpr Value Get(const Register& reg) const {
    return static_cast<Value>((uint64_t{reg.raw} & Mask()) >> kLow);
  }

  // Sets the field. Drops the bits of `value` that do not fit into it.
  constexpr void Set(Register& reg, Value value) const {
    const uint64_t bits = (uint64_t{value} << kLow) & Mask();
    reg.raw = static_cast<typename Register::Raw>(
        (uint64_t{reg.raw} & ~uint64_t{Mask()}) | bits);
  }

  // Returns `reg` with this field replaced.
  constexpr Register With(Register reg, Value value) const {
    Set(reg, value);
    return reg;
  }

 private:
  static constexpr uint64_t kValueMask = ~uint64_t{0} >> (64 - kWidth);
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_FIELD_H_
