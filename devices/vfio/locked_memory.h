// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_
#define PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// This process's locked memory. VFIO counts pinned guest memory against the
// limit unless the process has CAP_IPC_LOCK.
struct LockedMemory {
  // Absent if they could not be read from procfs.
  std::optional<uint64_t> limit;   // Soft RLIMIT_MEMLOCK in bytes.
  std::optional<uint64_t> locked;  // VmLck in bytes.
};

// Reads /proc/self/limits and /proc/self/status. An unlimited limit is the
// largest uint64_t.
LockedMemory ReadLockedMemory(kernel::Syscalls* syscalls);

// Says why pinning another `size` bytes failed with ENOMEM and what to do.
std::string DescribeLockedMemory(const LockedMemory& memory, uint64_t size);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_LOCKED_MEMORY_H_
