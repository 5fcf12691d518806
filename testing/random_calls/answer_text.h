// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_ANSWER_TEXT_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_ANSWER_TEXT_H_

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::random_calls {

inline std::string ErrorName(int error) {
  const char* const name = ::strerrorname_np(error);
  return name != nullptr ? name : absl::StrCat("errno ", error);
}

// Returns the result of a call, or the name of its errno.
template <typename T>
std::string Text(const kernel::SyscallResult<T>& result) {
  return result.ok() ? absl::StrCat(result.value) : ErrorName(result.error);
}

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_ANSWER_TEXT_H_
