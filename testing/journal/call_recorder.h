// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_CALL_RECORDER_H_
#define PASSTHRU_TESTING_JOURNAL_CALL_RECORDER_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/call_listener.h"
#include "passthru/testing/journal/journal.h"

namespace passthru::journal {

// A Syscalls that forwards every call to another kernel and counts the calls by
// name (ioctls by their UAPI name). It can also write a journal with one line
// per call, at the time when the call returns. The lines have the format of
// FakeKernel's journal, with the values that differ from run to run renamed
// (see JournalText). It works over the real kernel and over the simulated one.
//
// The journal omits the calls that wait, KVM_RUN and epoll_wait, which are only
// counted. It indents the other calls of a thread that has called epoll_wait,
// because their time and number depend on the hardware. Poll() is forwarded
// without being counted.
//
// Thread-safe.
class CallRecorder final : public kernel::ForwardingSyscalls {
 public:
  using Counts = std::map<std::string, uint64_t>;

  // `journal` and `listener` may be null. The recorder flushes the journal
  // after every line, so that it also tells how a crashed process ended.
  explicit CallRecorder(kernel::Syscalls* target,
                        std::ostream* journal = nullptr,
                        CallListener* listener = nullptr)
      : ForwardingSyscalls(target), journal_(journal), listener_(listener) {}

  // Returns the counts since the last Take().
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
  // Returns the time, if there is a listener to tell it to.
  CallListener::Time Now() const;
  template <typename T>
  kernel::SyscallResult<T> Record(const Call& call, CallListener::Time began,
                                  const kernel::SyscallResult<T>& result);
  // Returns what the descriptor refers to, as known from the call that made it.
  std::string Subject(int fd);
  void Remember(int fd, std::string subject);

  std::ostream* const journal_;
  CallListener* const listener_;
  absl::Mutex mutex_;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  JournalText text_ ABSL_GUARDED_BY(mutex_);
  std::map<int, std::string> subjects_ ABSL_GUARDED_BY(mutex_);
  std::set<std::thread::id> waiting_threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_CALL_RECORDER_H_
