// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CONFIG_REG_H_
#define PASSTHRU_PCI_CONFIG_REG_H_

#include <cstdint>
#include <type_traits>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"

namespace passthru::pci {

// The unsigned integer that holds a register of type T. It is T itself, or
// T::Raw for a struct of fields (field.h).
template <typename T, typename = void>
struct RawOfRegister {
  using Type = T;
};
template <typename T>
struct RawOfRegister<T, std::void_t<typename T::Raw>> {
  using Type = typename T::Raw;
};
template <typename T>
using RawOf = typename RawOfRegister<T>::Type;

template <typename T>
constexpr T RegisterFromRaw(RawOf<T> raw) {
  if constexpr (std::is_same_v<T, RawOf<T>>) {
    return raw;
  } else {
    T value{};
    value.raw = raw;
    return value;
  }
}

template <typename T>
constexpr RawOf<T> RawFromRegister(T value) {
  if constexpr (std::is_same_v<T, RawOf<T>>) {
    return value;
  } else {
    return value.raw;
  }
}

// The place of a register of type T in configuration space. As the offset has a
// type of its own, code cannot mistake it for a value or read the register with
// the wrong width.
//
// An immutable value.
template <typename T>
struct ConfigReg {
  uint16_t offset = 0;

  constexpr uint16_t size() const { return sizeof(RawOf<T>); }

  // Returns this register moved up by `base`. The registers of a capability are
  // declared relative to its start, and `base` is that start.
  constexpr ConfigReg At(uint16_t base) const {
    return ConfigReg{static_cast<uint16_t>(base + offset)};
  }

  friend constexpr bool operator==(ConfigReg, ConfigReg) = default;
};

// Returns the register's value in an image of configuration space. Bytes beyond
// the end of the image read as all ones.
template <typename T>
constexpr T ReadRegister(absl::Span<const uint8_t> config, ConfigReg<T> reg) {
  return RegisterFromRaw<T>(LoadLittleEndian<RawOf<T>>(config, reg.offset));
}

template <typename T>
constexpr void WriteRegister(absl::Span<uint8_t> config, ConfigReg<T> reg,
                             T value) {
  StoreLittleEndian<RawOf<T>>(config, reg.offset, RawFromRegister(value));
}

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CONFIG_REG_H_
