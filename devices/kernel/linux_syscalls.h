// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_LINUX_SYSCALLS_H_
#define PASSTHRU_DEVICES_KERNEL_LINUX_SYSCALLS_H_

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// The kernel that this process runs on. Thread-safe and stateless.
class LinuxSyscalls final : public Syscalls {
 public:
  SyscallResult<int> Open(const char* path, int flags) override;
  SyscallResult<int> Close(int fd) override;
  SyscallResult<int> Ioctl(int fd, unsigned long request, void* arg) override;
  SyscallResult<size_t> Read(int fd, void* buffer, size_t count) override;
  SyscallResult<size_t> Write(int fd, const void* buffer,
                              size_t count) override;
  SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                              uint64_t offset) override;
  SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                               uint64_t offset) override;
  SyscallResult<void*> Mmap(void* address, size_t length, int protection,
                            int flags, int fd, uint64_t offset) override;
  SyscallResult<int> Munmap(void* address, size_t length) override;
  SyscallResult<int> Eventfd(unsigned initial, int flags) override;
  SyscallResult<int> EpollCreate(int flags) override;
  SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                              epoll_event* event) override;
  SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                               int max_events, int timeout_ms) override;
  SyscallResult<int> Poll(pollfd* fds, nfds_t count, int timeout_ms) override;
  SyscallResult<int> Getrlimit(int resource, rlimit* limit) override;
  SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                       void* argument) override;
  SyscallResult<std::string> Readlink(const char* path) override;
  SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_LINUX_SYSCALLS_H_
