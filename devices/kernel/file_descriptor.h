// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_
#define PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// An owned file descriptor that closes itself through `syscalls`, which must
// outlive it.
//
// Move-only. Thread-compatible.
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

  // Returns the descriptor and gives up ownership without closing it.
  [[nodiscard]] int release();

  // Closes the descriptor now. Linux releases the number even if close(2)
  // fails, so this neither retries nor reports an error.
  void reset();

 private:
  Syscalls* syscalls_ = nullptr;
  int fd_ = -1;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FILE_DESCRIPTOR_H_
