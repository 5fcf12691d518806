// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_COMPARISON_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_COMPARISON_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/testing/random_calls/call_runner.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {

// A sequence of which two kernels answer only the last call differently.
struct Difference {
  Sequence calls;
  std::vector<std::string> expected;  // The answers of the first kernel.
  std::vector<std::string> found;     // Those of the second.

  // Returns the calls with their answers, one in a line.
  std::string ToString() const;
};

// Puts sequences to two kernels that have the same device.
//
// Thread-compatible.
class Comparison {
 public:
  // Does not own the runners. The first kernel is the one that is right.
  Comparison(CallRunner* first, CallRunner* second, Shape shape)
      : first_(first), second_(second), shape_(std::move(shape)) {}

  // Returns the calls up to the first that the kernels answer differently, or
  // nullopt if there is none.
  absl::StatusOr<std::optional<Difference>> Compare(const Sequence& calls);

  // Takes calls out of the sequence as long as its last call is still answered
  // in these two ways, so that no call of the result can be left out.
  absl::StatusOr<Difference> Shrink(Difference difference);

 private:
  CallRunner* const first_;
  CallRunner* const second_;
  const Shape shape_;
};

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_COMPARISON_H_
