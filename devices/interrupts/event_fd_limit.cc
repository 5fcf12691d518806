// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/event_fd_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>

#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/kernel/errors.h"

namespace passthru::interrupts {

absl::StatusOr<uint32_t> EventFdLimit(kernel::Syscalls* syscalls,
                                      uint32_t reserved) {
  rlimit limit = {};
  const kernel::SyscallResult<int> result =
      syscalls->Getrlimit(RLIMIT_NOFILE, &limit);
  if (!result.ok()) {
    return kernel::ErrnoError(result.error, "getrlimit(RLIMIT_NOFILE)");
  }
  // RLIM_INFINITY is the largest value.
  const uint64_t usable =
      limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, reserved);
  return static_cast<uint32_t>(
      std::min<uint64_t>(usable, InterruptBudget::kUnlimited));
}

}  // namespace passthru::interrupts
