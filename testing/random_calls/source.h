// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_SOURCE_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_SOURCE_H_

#include <cstdint>
#include <initializer_list>
#include <random>

namespace passthru::random_calls {

// Numbers that a seed decides. Thread-compatible.
class Source {
 public:
  explicit Source(uint64_t seed) : engine_(seed) {}

  uint64_t Bits() { return engine_(); }
  uint64_t Below(uint64_t limit) { return engine_() % limit; }
  bool Percent(unsigned percent) { return Below(100) < percent; }
  uint64_t OneOf(std::initializer_list<uint64_t> values) {
    return values.begin()[Below(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_SOURCE_H_
