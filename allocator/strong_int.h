// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_STRONG_INT_H_
#define PASSTHRU_ALLOCATOR_STRONG_INT_H_

#include <compare>
#include <concepts>
#include <utility>

#include "absl/strings/str_format.h"

namespace passthru::allocator {

// The base of a class that holds an unsigned integer and that code cannot
// mistake for another integer. The class names itself, so that it can be
// declared ahead and compilers call it by its own name:
//
//   class Gsi : public StrongInt<Gsi, uint32_t> {
//    public:
//     using StrongInt::StrongInt;
//   };
//
// Its values can be compared, hashed and printed. A default one is 0.
template <typename Self, std::unsigned_integral Rep>
class StrongInt {
 public:
  // The format of AbslStringify(). `Self` may declare another.
  static constexpr char kFormat[] = "%u";

  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  friend constexpr bool operator==(Self a, Self b) {
    return a.value() == b.value();
  }
  friend constexpr std::strong_ordering operator<=>(Self a, Self b) {
    return a.value() <=> b.value();
  }

  template <typename H>
  friend H AbslHashValue(H h, Self self) {
    return H::combine(std::move(h), self.value());
  }
  template <typename Sink>
  friend void AbslStringify(Sink& sink, Self self) {
    absl::Format(&sink, Self::kFormat, self.value());
  }

 private:
  Rep value_ = 0;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_STRONG_INT_H_
