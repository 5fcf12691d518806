// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_FUZZ_INPUT_H_
#define PASSTHRU_TESTING_FUZZ_FUZZ_INPUT_H_

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace passthru::fuzz {

// The bytes of a fuzz input, which a target takes from the front as its
// decisions. After the last byte every further decision is 0. So a prefix of an
// input is an input too, and means the same as far as it reaches.
//
// Thread-compatible.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }

  // Takes a little-endian integer. One that is cut off has zeros above.
  template <std::unsigned_integral T>
  T Take() {
    T value = 0;
    const absl::Span<const uint8_t> bytes = TakeBytes(sizeof(T));
    for (size_t i = 0; i < bytes.size(); ++i) {
      value = static_cast<T>(value | static_cast<T>(bytes[i]) << 8 * i);
    }
    return value;
  }

  // Returns one of `choices`, of which there are 1 to 256, by one byte.
  template <typename Container>
  const auto& Pick(const Container& choices) {
    return std::data(choices)[Take<uint8_t>() % std::size(choices)];
  }

  // Takes the next `size` bytes, or what is left.
  absl::Span<const uint8_t> TakeBytes(size_t size) {
    const absl::Span<const uint8_t> taken =
        rest_.first(std::min(size, rest_.size()));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  absl::Span<const uint8_t> TakeRest() { return TakeBytes(rest_.size()); }

 private:
  absl::Span<const uint8_t> rest_;
};

}  // namespace passthru::fuzz

#endif  // PASSTHRU_TESTING_FUZZ_FUZZ_INPUT_H_
