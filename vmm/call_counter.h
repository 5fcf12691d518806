// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_CALL_COUNTER_H_
#define PASSTHRU_VMM_CALL_COUNTER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "devices/kernel/forwarding_syscalls.h"

namespace passthru::vmm {

// The UAPI name of a KVM or VFIO ioctl, or "ioctl(0x...)".
std::string IoctlName(unsigned long request);

// Passes every system call on and counts it by name: ioctls by their UAPI name,
// the others by their own. Works over the real kernel and over a fake one.
//
// Thread-safe.
class CallCounter final : public kernel::ForwardingSyscalls {
 public:
  using Counts = std::map<std::string, uint64_t>;

  explicit CallCounter(kernel::Syscalls* target) : ForwardingSyscalls(target) {}

  // The calls since the last Take().
  Counts Take();

  kernel::SyscallResult<int> Open(const char* path, int flags) override;
  kernel::SyscallResult<int> Close(int fd) override;
  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* arg) override;
  kernel::SyscallResult<size_t> Read(int fd, void* buffer,
                                     size_t count) override;
  kernel::SyscallResult<size_t> Write(int fd, const void* buffer,
                                      size_t count) override;
  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override;
  kernel::SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                                       uint64_t offset) override;
  kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags, int fd,
                                    uint64_t offset) override;
  kernel::SyscallResult<int> Munmap(void* address, size_t length) override;
  kernel::SyscallResult<int> Eventfd(unsigned initial, int flags) override;
  kernel::SyscallResult<int> EpollCreate(int flags) override;
  kernel::SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                                      epoll_event* event) override;
  kernel::SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                                       int max_events, int timeout_ms) override;
  kernel::SyscallResult<std::string> Readlink(const char* path) override;
  kernel::SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override;

 private:
  void Count(std::string name);

  absl::Mutex mutex_;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_CALL_COUNTER_H_
