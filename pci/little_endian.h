// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_LITTLE_ENDIAN_H_
#define PASSTHRU_PCI_LITTLE_ENDIAN_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/types/span.h"

namespace passthru::pci {

// Load and store registers, which are little-endian on every host (PCI 3.0
// 6.1). Bytes beyond the end of `bytes` are not written, and read as all ones,
// like an access that no device answers.

template <typename T>
constexpr T LoadLittleEndian(absl::Span<const uint8_t> bytes, size_t offset) {
  static_assert(std::is_unsigned_v<T>);
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    const bool inside = offset < bytes.size() && i < bytes.size() - offset;
    const uint8_t byte = inside ? bytes[offset + i] : uint8_t{0xff};
    value |= uint64_t{byte} << (8 * i);
  }
  return static_cast<T>(value);
}

template <typename T>
constexpr void StoreLittleEndian(absl::Span<uint8_t> bytes, size_t offset,
                                 T value) {
  static_assert(std::is_unsigned_v<T>);
  for (size_t i = 0; i < sizeof(T); ++i) {
    const bool inside = offset < bytes.size() && i < bytes.size() - offset;
    if (inside) {
      bytes[offset + i] = static_cast<uint8_t>(uint64_t{value} >> (8 * i));
    }
  }
}

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_LITTLE_ENDIAN_H_
