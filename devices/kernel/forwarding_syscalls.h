// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_FORWARDING_SYSCALLS_H_
#define PASSTHRU_DEVICES_KERNEL_FORWARDING_SYSCALLS_H_

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

// A Syscalls for tests that forwards every call to another one. A test derives
// from it and overrides the calls whose results it wants to change.
//
// As thread-safe as `target`, which must outlive it.
class ForwardingSyscalls : public Syscalls {
 public:
  explicit ForwardingSyscalls(Syscalls* target) : target_(target) {}

  SyscallResult<int> Open(const char* path, int flags) override {
    return target_->Open(path, flags);
  }
  SyscallResult<int> Close(int fd) override { return target_->Close(fd); }
  SyscallResult<int> Ioctl(int fd, unsigned long request, void* arg) override {
    return target_->Ioctl(fd, request, arg);
  }
  SyscallResult<size_t> Read(int fd, void* buffer, size_t count) override {
    return target_->Read(fd, buffer, count);
  }
  SyscallResult<size_t> Write(int fd, const void* buffer,
                              size_t count) override {
    return target_->Write(fd, buffer, count);
  }
  SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                              uint64_t offset) override {
    return target_->Pread(fd, buffer, count, offset);
  }
  SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                               uint64_t offset) override {
    return target_->Pwrite(fd, buffer, count, offset);
  }
  SyscallResult<void*> Mmap(void* address, size_t length, int protection,
                            int flags, int fd, uint64_t offset) override {
    return target_->Mmap(address, length, protection, flags, fd, offset);
  }
  SyscallResult<int> Munmap(void* address, size_t length) override {
    return target_->Munmap(address, length);
  }
  SyscallResult<int> Eventfd(unsigned initial, int flags) override {
    return target_->Eventfd(initial, flags);
  }
  SyscallResult<int> EpollCreate(int flags) override {
    return target_->EpollCreate(flags);
  }
  SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                              epoll_event* event) override {
    return target_->EpollCtl(epoll_fd, operation, fd, event);
  }
  SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                               int max_events, int timeout_ms) override {
    return target_->EpollWait(epoll_fd, events, max_events, timeout_ms);
  }
  SyscallResult<int> Poll(pollfd* fds, nfds_t count, int timeout_ms) override {
    return target_->Poll(fds, count, timeout_ms);
  }
  SyscallResult<int> Getrlimit(int resource, rlimit* limit) override {
    return target_->Getrlimit(resource, limit);
  }
  SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                       void* argument) override {
    return target_->StartThread(body, argument);
  }
  SyscallResult<std::string> Readlink(const char* path) override {
    return target_->Readlink(path);
  }
  SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override {
    return target_->ReadDirectory(path);
  }

 private:
  Syscalls* const target_;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FORWARDING_SYSCALLS_H_
