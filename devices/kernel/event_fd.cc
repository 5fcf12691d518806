// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/event_fd.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

absl::StatusOr<EventFd> EventFd::Create(Syscalls* syscalls) {
  const SyscallResult<int> fd =
      syscalls->Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (!fd.ok()) return ErrnoError(fd.error, "eventfd");
  return EventFd(syscalls, FileDescriptor(syscalls, fd.value));
}

absl::StatusOr<uint64_t> EventFd::Read() {
  uint64_t count = 0;
  SyscallResult<size_t> result;
  do {
    result = syscalls_->Read(fd(), &count, sizeof(count));
  } while (result.error == EINTR);
  if (result.error == EAGAIN) return 0;
  if (!result.ok()) {
    return ErrnoError(result.error, absl::StrCat("read of eventfd ", fd()));
  }
  if (result.value != sizeof(count)) {
    return absl::DataLossError(absl::StrFormat(
        "read of eventfd %d returned %d bytes, not 8", fd(), result.value));
  }
  return count;
}

absl::Status EventFd::Signal(uint64_t value) {
  SyscallResult<size_t> result;
  do {
    result = syscalls_->Write(fd(), &value, sizeof(value));
  } while (result.error == EINTR);
  if (!result.ok()) {
    return ErrnoError(result.error,
                      absl::StrCat("write of ", value, " to eventfd ", fd()));
  }
  return absl::OkStatus();
}

}  // namespace passthru::kernel
