// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_ERRORS_H_
#define PASSTHRU_DEVICES_KERNEL_ERRORS_H_

#include <string_view>

#include "absl/status/status.h"

namespace passthru::kernel {

// The status for a system call that failed with errno `error`. `what` names
// the call, its arguments and the object: "VFIO_DEVICE_RESET on 0000:01:00.0".
// The message is "<what>: <description> (errno <number> / <NAME>)"; the number
// travels in a payload, see ErrnoOf(). `error` is never 0.
absl::Status ErrnoError(int error, std::string_view what);

// As above with a sentence of our own in place of the errno's description:
// for the mistakes that a user makes and can repair. The code is that of
// `error`, the message is `sentence` followed by "(errno <number> / <NAME>)".
absl::Status ExplainedErrnoError(int error, std::string_view sentence);

// The errno that `status` or what it was annotated from was made of; 0 if it
// is OK or does not come from a system call.
int ErrnoOf(const absl::Status& status);

// `status` with "<context>: " before its message; code and errno are kept. An
// OK status stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_ERRORS_H_
