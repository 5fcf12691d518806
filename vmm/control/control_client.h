// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_CONTROL_CONTROL_CLIENT_H_
#define PASSTHRU_VMM_CONTROL_CONTROL_CLIENT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace passthru::vmm {

// Sends a command to the VMM that listens at `path` (ControlServer), waits for
// the answer and returns its text. Returns kFailedPrecondition with the VMM's
// own sentence if it answered with an error, kUnavailable if no VMM listens
// there or if it ended before it answered, and kInvalidArgument for a command
// of several lines and for a path that cannot be.
absl::StatusOr<std::string> SendCommand(const std::string& path,
                                        std::string_view command);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_CONTROL_CONTROL_CLIENT_H_
