// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_
#define PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/strings/str_format.h"

namespace passthru::allocator {

// The number of a KVM memory slot, which is bits 15:0 of
// `kvm_userspace_memory_region.slot` in address space 0.
class MemorySlot {
 public:
  constexpr MemorySlot() = default;
  constexpr explicit MemorySlot(uint32_t value) : value_(value) {}

  constexpr uint32_t value() const { return value_; }

  friend constexpr auto operator<=>(MemorySlot, MemorySlot) = default;

  template <typename H>
  friend H AbslHashValue(H h, MemorySlot slot) {
    return H::combine(std::move(h), slot.value_);
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, MemorySlot slot) {
    absl::Format(&sink, "%u", slot.value_);
  }

 private:
  uint32_t value_ = 0;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_
