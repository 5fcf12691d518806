// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/file_descriptor.h"

#include <utility>

namespace passthru::kernel {

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : syscalls_(other.syscalls_), fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    syscalls_ = other.syscalls_;
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

void FileDescriptor::reset() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0) syscalls_->Close(fd);
}

}  // namespace passthru::kernel
