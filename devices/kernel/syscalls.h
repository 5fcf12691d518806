// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_SYSCALLS_H_
#define PASSTHRU_DEVICES_KERNEL_SYSCALLS_H_

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace passthru::kernel {

// The result of a system call. `error` is the errno, or 0 on success. `value`
// is meaningful only on success.
template <typename T>
struct SyscallResult {
  T value{};
  int error = 0;

  bool ok() const { return error == 0; }
};

// The one seam between this code base and the kernel. Each method is one system
// call and returns its errno. There are no retries, no policy and no logging.
// (Readlink(), ReadDirectory() and StartThread() may take several calls.) A
// class that needs the kernel takes a Syscalls* in its constructor. The
// Syscalls must outlive everything built on it.
//
// Thread-safe. A call that blocks (Ioctl(KVM_RUN), EpollWait, Poll) must not
// delay the calls of other threads.
class Syscalls {
 public:
  Syscalls() = default;
  Syscalls(const Syscalls&) = delete;
  Syscalls& operator=(const Syscalls&) = delete;
  virtual ~Syscalls();

  virtual SyscallResult<int> Open(const char* path, int flags) = 0;
  virtual SyscallResult<int> Close(int fd) = 0;

  // `value` is the ioctl's return value, in which some requests return data
  // (KVM_CHECK_EXTENSION, VFIO_DEVICE_SET_IRQS). `arg` is a pointer or an
  // integer, depending on the request. The caller sees EINTR and EAGAIN of
  // KVM_RUN.
  virtual SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* arg) = 0;

  // Calls Ioctl() for a request whose argument is an integer (VFIO_SET_IOMMU,
  // KVM_RUN, ...).
  SyscallResult<int> IoctlInt(int fd, unsigned long request, uintptr_t arg) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): ioctl(2)'s ABI requires it.
    return Ioctl(fd, request, reinterpret_cast<void*>(arg));
  }

  virtual SyscallResult<size_t> Read(int fd, void* buffer, size_t count) = 0;
  virtual SyscallResult<size_t> Write(int fd, const void* buffer,
                                      size_t count) = 0;
  virtual SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) = 0;
  virtual SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                                       uint64_t offset) = 0;

  virtual SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags, int fd,
                                    uint64_t offset) = 0;
  virtual SyscallResult<int> Munmap(void* address, size_t length) = 0;

  // Calls eventfd(2). `flags` are EFD_*.
  virtual SyscallResult<int> Eventfd(unsigned initial, int flags) = 0;

  virtual SyscallResult<int> EpollCreate(int flags) = 0;
  virtual SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                                      epoll_event* event) = 0;
  virtual SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                                       int max_events, int timeout_ms) = 0;
  virtual SyscallResult<int> Poll(pollfd* fds, nfds_t count,
                                  int timeout_ms) = 0;

  // Calls getrlimit(2) for the limit `resource` (RLIMIT_*) of this process.
  virtual SyscallResult<int> Getrlimit(int resource, rlimit* limit) = 0;

  // Starts a thread that runs body(argument), as pthread_create(3) does. The
  // caller joins it.
  virtual SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                               void* argument) = 0;

  // Calls readlink(2) and returns the whole text of the link.
  virtual SyscallResult<std::string> Readlink(const char* path) = 0;

  // Calls opendir(3) and readdir(3) and returns the sorted names of the entries
  // without "." and "..".
  virtual SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) = 0;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_SYSCALLS_H_
