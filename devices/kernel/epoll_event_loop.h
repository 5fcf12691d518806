// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_EPOLL_EVENT_LOOP_H_
#define PASSTHRU_DEVICES_KERNEL_EPOLL_EVENT_LOOP_H_

#include <pthread.h>

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
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// An event loop over one epoll(7) instance. Callbacks run either on the loop's
// own thread (see Start()) or on the thread that calls RunOnce(). A callback
// may call any method, but cannot start or run the loop. A VMM that has an
// epoll instance of its own can watch fd() with it and call RunOnce(0) when
// that is readable.
//
// Thread-safe.
class EpollEventLoop final : public EventLoop {
 public:
  static absl::StatusOr<std::unique_ptr<EpollEventLoop>> Create(
      Syscalls* syscalls);

  EpollEventLoop(const EpollEventLoop&) = delete;
  EpollEventLoop& operator=(const EpollEventLoop&) = delete;

  // Stops the thread and destroys all callbacks. A callback must not destroy
  // its loop.
  ~EpollEventLoop() override;

  absl::Status Add(int fd, bool edge_triggered,
                   std::function<void()> callback) override;
  absl::Status Remove(int fd) override;

  // Returns the epoll descriptor, which is readable while callbacks are due.
  int fd() const { return epoll_.get(); }

  // Waits up to `timeout_ms` milliseconds (-1 means without limit) and runs the
  // callbacks that are due. Returns how many ran, which is 0 after a timeout or
  // Wake(). Returns FailedPrecondition when called from a callback, while
  // another thread is in RunOnce(), and while the loop has its own thread.
  absl::StatusOr<int> RunOnce(int timeout_ms);

  // Makes the current RunOnce() return, or the next one if none is running.
  absl::Status Wake();

  // Starts a thread that runs callbacks until Stop(). Returns
  // FailedPrecondition if there is a thread already, while another thread is in
  // RunOnce(), and when called from a callback.
  //
  // If the thread cannot wait for events any more, it logs that and ends. The
  // loop can then be run with RunOnce(), or started again.
  absl::Status Start();

  // Ends the thread that Start() started and waits for it. A callback that
  // calls this only requests the end and does not wait. Does nothing if there
  // is no thread.
  void Stop();

 private:
  struct Handler {
    int fd;
    uint64_t id;
    std::function<void()> callback;
  };

  EpollEventLoop(Syscalls* syscalls, FileDescriptor epoll, EventFd wake);

  // Implements RunOnce() for the loop's own thread (`own_thread`) or a caller.
  absl::StatusOr<int> Run(int timeout_ms, bool own_thread);
  absl::StatusOr<int> WaitForEvents(int timeout_ms, epoll_event* events,
                                    int max_events);
  bool Dispatch(uint64_t id);
  void ThreadMain();
  void JoinThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(thread_mutex_);
  bool StopRequested();

  Syscalls* const syscalls_;
  const FileDescriptor epoll_;
  EventFd wake_;

  absl::Mutex mutex_;
  // epoll_event.data carries the handler's id and not its fd, because an event
  // fetched before a Remove() must not reach the next user of the same fd.
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Handler>> handlers_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int, uint64_t> ids_ ABSL_GUARDED_BY(mutex_);
  // The handler whose callback is running, or 0 and -1 if none is.
  uint64_t running_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_fd_ ABSL_GUARDED_BY(mutex_) = -1;
  // The thread that is inside Run(), if any.
  std::optional<std::thread::id> runner_ ABSL_GUARDED_BY(mutex_);
  // Whether the loop has its own thread. If so, only that thread may Run().
  bool has_thread_ ABSL_GUARDED_BY(mutex_) = false;
  // Holds a handler that its own callback removed until the callback returns.
  std::unique_ptr<Handler> removed_while_running_ ABSL_GUARDED_BY(mutex_);
  bool stop_requested_ ABSL_GUARDED_BY(mutex_) = false;

  // Serializes Start() and Stop(). The loop's thread must not take it, because
  // Stop() holds it while it joins that thread.
  absl::Mutex thread_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  // The thread that is to be joined, if any.
  std::optional<pthread_t> thread_ ABSL_GUARDED_BY(thread_mutex_);
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_EPOLL_EVENT_LOOP_H_
