// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_ERRORS_H_
#define PASSTHRU_DEVICES_KERNEL_ERRORS_H_

#include <string_view>

#include "absl/status/status.h"

namespace passthru::kernel {

// Returns the status for a system call that failed with errno `error`, which
// must not be 0. `what` names the call, its arguments and the object, such as
// "VFIO_DEVICE_RESET on 0000:01:00.0". The message is "<what>: <description>
// (errno <number> / <NAME>)". A payload carries the number (see ErrnoOf()).
absl::Status ErrnoError(int error, std::string_view what);

// Like ErrnoError(), but with `sentence` in place of `what` and the errno's
// description. It is for mistakes that the user can repair, and `sentence` says
// how. The message is `sentence` followed by "(errno <number> / <NAME>)".
absl::Status ExplainedErrnoError(int error, std::string_view sentence);

// Returns the errno that `status` was made from, also after Annotate(). Returns
// 0 if `status` is OK or does not come from a system call.
int ErrnoOf(const absl::Status& status);

// Returns `status` with "<context>: " before its message and with the same code
// and errno. Returns an OK status unchanged.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_ERRORS_H_
