// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/comparison.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::random_calls {
namespace {

bool SameEnd(const Difference& a, const Difference& b) {
  return a.calls.back() == b.calls.back() &&
         a.expected.back() == b.expected.back() &&
         a.found.back() == b.found.back();
}

}  // namespace

std::string Difference::ToString() const {
  std::string text;
  for (size_t i = 0; i < calls.size(); ++i) {
    absl::StrAppend(&text, "  ", calls[i].ToString(), " -> ", expected[i]);
    if (expected[i] != found[i]) absl::StrAppend(&text, "\n    not ", found[i]);
    absl::StrAppend(&text, "\n");
  }
  return text;
}

absl::StatusOr<std::optional<Difference>> Comparison::Compare(
    const Sequence& calls) {
  PASSTHRU_ASSIGN_OR_RETURN(std::vector<std::string> expected,
                            first_->Run(shape_, calls));
  PASSTHRU_ASSIGN_OR_RETURN(std::vector<std::string> found,
                            second_->Run(shape_, calls));
  for (size_t i = 0; i < calls.size(); ++i) {
    if (expected[i] == found[i]) continue;
    expected.resize(i + 1);
    found.resize(i + 1);
    return Difference{
        .calls = Sequence(calls.begin(),
                          calls.begin() + static_cast<ptrdiff_t>(i + 1)),
        .expected = std::move(expected),
        .found = std::move(found)};
  }
  return std::nullopt;
}

absl::StatusOr<Difference> Comparison::Shrink(Difference difference) {
  size_t size = difference.calls.size();
  while (size > 0) {
    bool shorter = false;
    for (size_t start = 0; start + 1 < difference.calls.size();) {
      const size_t end = std::min(start + size, difference.calls.size() - 1);
      Sequence fewer = difference.calls;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(start),
                  fewer.begin() + static_cast<ptrdiff_t>(end));
      PASSTHRU_ASSIGN_OR_RETURN(std::optional<Difference> smaller,
                                Compare(fewer));
      if (smaller.has_value() && SameEnd(*smaller, difference)) {
        difference = *std::move(smaller);
        shorter = true;
      } else {
        start = end;
      }
    }
    if (size > 1) {
      size /= 2;
    } else if (!shorter) {
      size = 0;
    }
  }
  return difference;
}

}  // namespace passthru::random_calls
