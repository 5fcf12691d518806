// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_IOVA_H_
#define PASSTHRU_DEVICES_MEMORY_IOVA_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/strings/str_format.h"

namespace passthru::memory {

// An I/O virtual address, which a device uses for DMA and the IOMMU translates
// (VFIO_IOMMU_MAP_DMA's `iova`).
//
// Arithmetic is modulo 2^64. Callers must check that address + size does not
// wrap.
class Iova {
 public:
  constexpr Iova() = default;
  constexpr explicit Iova(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }

  friend constexpr auto operator<=>(Iova, Iova) = default;
  friend constexpr Iova operator+(Iova a, uint64_t offset) {
    return Iova(a.value_ + offset);
  }
  // Returns the distance from `b` up to `a`.
  friend constexpr uint64_t operator-(Iova a, Iova b) {
    return a.value_ - b.value_;
  }

  template <typename H>
  friend H AbslHashValue(H h, Iova iova) {
    return H::combine(std::move(h), iova.value_);
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, Iova iova) {
    absl::Format(&sink, "0x%x", iova.value_);
  }

 private:
  uint64_t value_ = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_IOVA_H_
