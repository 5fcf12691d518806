// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_
#define PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// An owned file descriptor, closed through the Syscalls it came from.
//
// Move-only. Thread-compatible. `syscalls` must outlive it.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  FileDescriptor(Syscalls* syscalls, int fd) : syscalls_(syscalls), fd_(fd) {}

  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // Gives the descriptor up without closing it.
  [[nodiscard]] int release();

  // Closes it now. Linux releases the number even when close(2) reports an
  // error, so there is nothing to retry and nothing to report.
  void reset();

 private:
  Syscalls* syscalls_ = nullptr;
  int fd_ = -1;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_
