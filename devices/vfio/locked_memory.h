// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_
#define PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// This process' memory locking: what VFIO charges pinned guest memory to,
// unless the process has CAP_IPC_LOCK.
struct LockedMemory {
  // Absent where procfs did not tell.
  std::optional<uint64_t> limit;   // RLIMIT_MEMLOCK, soft; bytes.
  std::optional<uint64_t> locked;  // VmLck; bytes.
};

// From /proc/self/limits and /proc/self/status.
LockedMemory ReadLockedMemory(kernel::Syscalls* syscalls);

// Why pinning another `size` bytes failed with ENOMEM, and what to do.
std::string DescribeLockedMemory(const LockedMemory& memory, uint64_t size);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_
