// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_GSI_H_
#define PASSTHRU_ALLOCATOR_GSI_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/strings/str_format.h"

namespace passthru::allocator {

// A global system interrupt, the number by which KVM_IRQFD and the entries of
// KVM_SET_GSI_ROUTING identify one interrupt of a VM. It is a distinct type so
// that code cannot mistake it for a vector index or a file descriptor.
class Gsi {
 public:
  constexpr Gsi() = default;
  constexpr explicit Gsi(uint32_t value) : value_(value) {}

  constexpr uint32_t value() const { return value_; }

  friend constexpr auto operator<=>(Gsi, Gsi) = default;

  template <typename H>
  friend H AbslHashValue(H h, Gsi gsi) {
    return H::combine(std::move(h), gsi.value_);
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, Gsi gsi) {
    absl::Format(&sink, "%u", gsi.value_);
  }

 private:
  uint32_t value_ = 0;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_GSI_H_
