// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/errors.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace passthru::kernel {
namespace {

constexpr std::string_view kErrnoPayload = "passthru/errno";

// Returns the status code of an errno. Overrides absl::ErrnoToStatusCode() for
// errnos of VFIO and KVM that it maps to Unknown or to a misleading code.
absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EIO:  // The device does not decode memory, is in D3hot, or is removed.
      return absl::StatusCode::kUnavailable;
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case EBADFD:
      return absl::StatusCode::kInvalidArgument;
    case ENOTTY:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::ErrnoToStatusCode(error);
  }
}

std::string Suffix(int error) {
  // The *_np functions are thread-safe and independent of the locale.
  const char* name = strerrorname_np(error);
  return absl::StrCat(" (errno ", error, " / ",
                      name == nullptr ? "unknown" : name, ")");
}

absl::Status Make(int error, std::string_view message) {
  absl::Status status(CodeOf(error), message);
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error)));
  return status;
}

}  // namespace

absl::Status ErrnoError(int error, std::string_view what) {
  CHECK_NE(error, 0) << what;
  const char* description = strerrordesc_np(error);
  return Make(error, absl::StrCat(
                         what, ": ",
                         description == nullptr ? "Unknown error" : description,
                         Suffix(error)));
}

absl::Status ExplainedErrnoError(int error, std::string_view sentence) {
  CHECK_NE(error, 0) << sentence;
  return Make(error, absl::StrCat(sentence, Suffix(error)));
}

int ErrnoOf(const absl::Status& status) {
  const std::optional<absl::Cord> payload = status.GetPayload(kErrnoPayload);
  if (!payload.has_value()) return 0;
  const std::string text(*payload);
  int error = 0;
  return absl::SimpleAtoi(text, &error) ? error : 0;
}

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](std::string_view type_url, const absl::Cord& payload) {
        annotated.SetPayload(type_url, payload);
      });
  return annotated;
}

}  // namespace passthru::kernel
