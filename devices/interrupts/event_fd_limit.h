// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_EVENT_FD_LIMIT_H_
#define PASSTHRU_DEVICES_INTERRUPTS_EVENT_FD_LIMIT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::interrupts {

// Returns how many eventfds the devices of a VM may have, for
// InterruptBudget::Limits. That is the process's limit of descriptors (the soft
// RLIMIT_NOFILE), without `reserved` ones for everything else: the VM, files,
// sockets. A VMM that passes through devices with many vectors raises the limit
// (setrlimit(2)) before it asks.
absl::StatusOr<uint32_t> EventFdLimit(kernel::Syscalls* syscalls,
                                      uint32_t reserved);

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_EVENT_FD_LIMIT_H_
