// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_VECTOR_INDEX_H_
#define PASSTHRU_PCI_VECTOR_INDEX_H_

#include <compare>
#include <cstdint>
#include <string>
#include <utility>

namespace passthru::pci {

// The number of an MSI or MSI-X vector within its function. It is the index
// into the MSI-X table, or the number that an MSI function puts into the low
// bits of its data, and not the interrupt vector of a CPU.
//
// An immutable value.
class VectorIndex {
 public:
  constexpr VectorIndex() = default;
  constexpr explicit VectorIndex(uint16_t value) : value_(value) {}

  constexpr uint16_t value() const { return value_; }

  friend constexpr auto operator<=>(VectorIndex, VectorIndex) = default;

  template <typename H>
  friend H AbslHashValue(H h, VectorIndex index) {
    return H::combine(std::move(h), index.value_);
  }

  template <typename Sink>
  friend void AbslStringify(Sink& sink, VectorIndex index) {
    sink.Append(std::to_string(index.value_));
  }

 private:
  uint16_t value_ = 0;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_VECTOR_INDEX_H_
