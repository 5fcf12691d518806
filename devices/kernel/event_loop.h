// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_
#define PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// Calls functions when descriptors become readable: one epoll(7) instance, run
// either by a thread of its own (Start) or by whoever calls RunOnce. Callbacks
// run one at a time, without any lock of the loop's held, so they may call
// every method here.
//
// Thread-safe.
class EventLoop {
 public:
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create(Syscalls* syscalls);

  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Stops the thread. Not from a callback. What was added is forgotten.
  ~EventLoop();

  // Watches `fd`, which must stay open until Remove(). `callback` runs whenever
  // it is readable, in error or hung up; with `edge_triggered`, once each time
  // something arrives (and once now if something already has). An fd is
  // watched once: AlreadyExists.
  absl::Status Add(int fd, bool edge_triggered, std::function<void()> callback);

  // Stops watching. On return the callback is neither running nor will it run
  // again, and what it captured is destroyed - except when the callback itself
  // calls this: then it finishes, and is destroyed after. The caller must not
  // hold a lock that the callback takes. NotFound if `fd` is not watched.
  absl::Status Remove(int fd);

  // Waits up to `timeout_ms` (-1: for ever) and runs the callbacks that are
  // due. Returns how many ran, which is 0 after a timeout or Wake().
  // FailedPrecondition while another thread (or a callback) is in here, and
  // between Start() and Stop().
  absl::StatusOr<int> RunOnce(int timeout_ms);

  // Makes the RunOnce in progress, or else the next one, return.
  absl::Status Wake();

  // Runs callbacks on a thread of the loop's own until Stop().
  absl::Status Start();

  // Ends that thread and waits for it; from a callback, only asks it to end. A
  // no-op when there is none.
  void Stop();

 private:
  struct Handler {
    int fd;
    uint64_t id;
    std::function<void()> callback;
  };

  EventLoop(Syscalls* syscalls, FileDescriptor epoll, EventFd wake);

  // RunOnce(), for the loop's own thread or for a caller's.
  absl::StatusOr<int> Run(int timeout_ms, bool own_thread);
  absl::StatusOr<int> WaitForEvents(int timeout_ms, epoll_event* events,
                                    int max_events);
  bool Dispatch(uint64_t id);
  void ThreadMain();
  bool StopRequested();

  Syscalls* const syscalls_;
  const FileDescriptor epoll_;
  EventFd wake_;

  absl::Mutex mutex_;
  // epoll_event.data carries the handler's id, never its fd: an event that was
  // fetched before a Remove() must not reach the next user of the same number.
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Handler>> handlers_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int, uint64_t> ids_ ABSL_GUARDED_BY(mutex_);
  // The handler whose callback is running; 0 and -1 if none is.
  uint64_t running_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_fd_ ABSL_GUARDED_BY(mutex_) = -1;
  // The thread inside Run().
  std::optional<std::thread::id> runner_ ABSL_GUARDED_BY(mutex_);
  // Whether there is a thread of the loop's own, which alone may Run() then.
  bool has_thread_ ABSL_GUARDED_BY(mutex_) = false;
  // A handler removed by its own callback lives here until that returns.
  std::unique_ptr<Handler> removed_while_running_ ABSL_GUARDED_BY(mutex_);
  bool stop_requested_ ABSL_GUARDED_BY(mutex_) = false;

  // Serializes Start and Stop; never taken by the loop's thread.
  absl::Mutex thread_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(thread_mutex_);
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_
