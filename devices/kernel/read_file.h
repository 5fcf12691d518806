// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_READ_FILE_H_
#define PASSTHRU_DEVICES_KERNEL_READ_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// Returns the contents of a small text file (sysfs, procfs), but no more than
// its first `limit` bytes. Thread-safe.
absl::StatusOr<std::string> ReadFile(Syscalls* syscalls,
                                     const std::string& path,
                                     size_t limit = 64 * 1024);

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_READ_FILE_H_
