// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_STATUS_MACROS_H_
#define PASSTHRU_DEVICES_KERNEL_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"  // IWYU pragma: keep
#include "absl/status/statusor.h"

// Returns the status of the expression from the enclosing function unless it is
// OK. The function must return absl::Status or absl::StatusOr.
//
//   PASSTHRU_RETURN_IF_ERROR(listener->OnAdd(area));
#define PASSTHRU_RETURN_IF_ERROR(...)                   \
  do {                                                  \
    if (::absl::Status passthru_status = (__VA_ARGS__); \
        !passthru_status.ok()) {                        \
      return passthru_status;                           \
    }                                                   \
  } while (false)

// Returns the status of the expression, an absl::StatusOr, from the enclosing
// function unless it is OK. Otherwise assigns its value to `lhs`, which is a
// declaration or an assignable expression without commas.
//
//   PASSTHRU_ASSIGN_OR_RETURN(auto group, VfioGroup::Open(container, 7));
#define PASSTHRU_ASSIGN_OR_RETURN(lhs, ...)                      \
  PASSTHRU_ASSIGN_OR_RETURN_IMPL_(                               \
      PASSTHRU_STATUS_CONCAT_(passthru_statusor, __LINE__), lhs, \
      (__VA_ARGS__))

// `lhs` may be a declaration, and `statusor` is a name.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PASSTHRU_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expression) \
  auto statusor = expression;                                      \
  if (!statusor.ok()) return std::move(statusor).status();         \
  lhs = *std::move(statusor)
// NOLINTEND(bugprone-macro-parentheses)

#define PASSTHRU_STATUS_CONCAT_(a, b) PASSTHRU_STATUS_CONCAT_IMPL_(a, b)
#define PASSTHRU_STATUS_CONCAT_IMPL_(a, b) a##b

#endif  // PASSTHRU_DEVICES_KERNEL_STATUS_MACROS_H_
