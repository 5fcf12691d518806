// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_
#define PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_

#include <compare>
#include <cstdint>
#include <utility>

#include "absl/strings/str_format.h"

namespace passthru::memory {

// A guest physical address. The guest's page tables lead to such addresses, and
// KVM uses them for its slots and exits. It is not an Iova, though a VMM
// without a virtual IOMMU maps the two one to one.
//
// Arithmetic is modulo 2^64. Callers must check that address + size does not
// wrap.
class GuestAddress {
 public:
  constexpr GuestAddress() = default;
  constexpr explicit GuestAddress(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }

  friend constexpr auto operator<=>(GuestAddress, GuestAddress) = default;
  friend constexpr GuestAddress operator+(GuestAddress a, uint64_t offset) {
    return GuestAddress(a.value_ + offset);
  }
  // Returns the distance from `b` up to `a`.
  friend constexpr uint64_t operator-(GuestAddress a, GuestAddress b) {
    return a.value_ - b.value_;
  }

  template <typename H>
  friend H AbslHashValue(H h, GuestAddress address) {
    return H::combine(std::move(h), address.value_);
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, GuestAddress address) {
    absl::Format(&sink, "0x%x", address.value_);
  }

 private:
  uint64_t value_ = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_
