// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/linux_syscalls.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

// Converts the return value of a libc function, which is negative and comes
// with errno if the call failed.
template <typename T, typename Raw>
SyscallResult<T> Result(Raw raw) {
  if (raw < 0) return {.error = errno};
  return {.value = static_cast<T>(raw)};
}

// Converts an offset to libc's signed type. One that is too large becomes
// negative, and the kernel answers EINVAL.
off_t SignedOffset(uint64_t offset) { return static_cast<off_t>(offset); }

}  // namespace

SyscallResult<int> LinuxSyscalls::Open(const char* path, int flags) {
  return Result<int>(::open(path, flags));
}

SyscallResult<int> LinuxSyscalls::Close(int fd) {
  return Result<int>(::close(fd));
}

SyscallResult<int> LinuxSyscalls::Ioctl(int fd, unsigned long request,
                                        void* arg) {
  return Result<int>(::ioctl(fd, request, arg));
}

SyscallResult<size_t> LinuxSyscalls::Read(int fd, void* buffer, size_t count) {
  return Result<size_t>(::read(fd, buffer, count));
}

SyscallResult<size_t> LinuxSyscalls::Write(int fd, const void* buffer,
                                           size_t count) {
  return Result<size_t>(::write(fd, buffer, count));
}

SyscallResult<size_t> LinuxSyscalls::Pread(int fd, void* buffer, size_t count,
                                           uint64_t offset) {
  return Result<size_t>(::pread(fd, buffer, count, SignedOffset(offset)));
}

SyscallResult<size_t> LinuxSyscalls::Pwrite(int fd, const void* buffer,
                                            size_t count, uint64_t offset) {
  return Result<size_t>(::pwrite(fd, buffer, count, SignedOffset(offset)));
}

SyscallResult<void*> LinuxSyscalls::Mmap(void* address, size_t length,
                                         int protection, int flags, int fd,
                                         uint64_t offset) {
  void* const result =
      ::mmap(address, length, protection, flags, fd, SignedOffset(offset));
  if (result == MAP_FAILED) return {.error = errno};
  return {.value = result};
}

SyscallResult<int> LinuxSyscalls::Munmap(void* address, size_t length) {
  return Result<int>(::munmap(address, length));
}

SyscallResult<int> LinuxSyscalls::Eventfd(unsigned initial, int flags) {
  return Result<int>(::eventfd(initial, flags));
}

SyscallResult<int> LinuxSyscalls::EpollCreate(int flags) {
  return Result<int>(::epoll_create1(flags));
}

SyscallResult<int> LinuxSyscalls::EpollCtl(int epoll_fd, int operation, int fd,
                                           epoll_event* event) {
  return Result<int>(::epoll_ctl(epoll_fd, operation, fd, event));
}

SyscallResult<int> LinuxSyscalls::EpollWait(int epoll_fd, epoll_event* events,
                                            int max_events, int timeout_ms) {
  return Result<int>(::epoll_wait(epoll_fd, events, max_events, timeout_ms));
}

SyscallResult<int> LinuxSyscalls::Poll(pollfd* fds, nfds_t count,
                                       int timeout_ms) {
  return Result<int>(::poll(fds, count, timeout_ms));
}

SyscallResult<int> LinuxSyscalls::Getrlimit(int resource, rlimit* limit) {
  return Result<int>(::getrlimit(resource, limit));
}

SyscallResult<pthread_t> LinuxSyscalls::StartThread(void* (*body)(void*),
                                                    void* argument) {
  pthread_t thread = {};
  const int error = ::pthread_create(&thread, nullptr, body, argument);
  if (error != 0) return {.error = error};
  return {.value = thread};
}

SyscallResult<std::string> LinuxSyscalls::Readlink(const char* path) {
  // readlink(2) truncates silently, so a buffer that comes back full is retried
  // with twice the size.
  for (std::string text(256, '\0');; text.resize(text.size() * 2)) {
    const ssize_t length = ::readlink(path, text.data(), text.size());
    if (length < 0) return {.error = errno};
    if (static_cast<size_t>(length) < text.size()) {
      text.resize(static_cast<size_t>(length));
      return {.value = text};
    }
  }
}

SyscallResult<std::vector<std::string>> LinuxSyscalls::ReadDirectory(
    const char* path) {
  struct Closer {
    void operator()(DIR* directory) const { ::closedir(directory); }
  };
  const std::unique_ptr<DIR, Closer> directory(::opendir(path));
  if (directory == nullptr) return {.error = errno};
  std::vector<std::string> names;
  for (;;) {
    errno = 0;  // Distinguishes the end of the directory from an error.
    const dirent* const entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return {.error = errno};
  std::sort(names.begin(), names.end());
  return {.value = std::move(names)};
}

}  // namespace passthru::kernel
