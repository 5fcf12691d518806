// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_ADDRESS_H_
#define PASSTHRU_DEVICES_MEMORY_ADDRESS_H_

#include <cstdint>

#include "passthru/allocator/strong_int.h"

namespace passthru::memory {

// The base of a class for the addresses of one address space (see StrongInt).
//
// Arithmetic is modulo 2^64. Callers must check that address + size does not
// wrap.
template <typename Self>
class Address : public allocator::StrongInt<Self, uint64_t> {
 public:
  using allocator::StrongInt<Self, uint64_t>::StrongInt;

  static constexpr char kFormat[] = "0x%x";

  friend constexpr Self operator+(Self a, uint64_t offset) {
    return Self(a.value() + offset);
  }
  // Returns the distance from `b` up to `a`.
  friend constexpr uint64_t operator-(Self a, Self b) {
    return a.value() - b.value();
  }
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_ADDRESS_H_
