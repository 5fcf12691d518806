// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_TESTING_VFIO_IOCTL_ANSWER_H_
#define PASSTHRU_TESTING_VFIO_IOCTL_ANSWER_H_

#include <cerrno>
#include <cstddef>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::fake {

// Returns what an ioctl returns that fails with `error`, or succeeds if it is
// 0.
inline kernel::SyscallResult<int> FromErrno(int error) {
  return {error == 0 ? 0 : -1, error};
}

// Copies `minimum` bytes of the caller's struct, which are the part that the
// interface's first version had, and refuses a caller whose `argsz` announces
// less, as every VFIO ioctl does. Returns 0, EFAULT or EINVAL.
template <typename T>
int CopyHeader(const void* arg, size_t minimum, T* value) {
  if (!journal::CopyFromUser(value, arg, minimum)) return EFAULT;
  return value->argsz < minimum ? EINVAL : 0;
}

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_IOCTL_ANSWER_H_
