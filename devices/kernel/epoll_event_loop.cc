// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/epoll_event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

constexpr uint64_t kWakeId = 0;
constexpr int kMaxEvents = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<EpollEventLoop>> EpollEventLoop::Create(
    Syscalls* syscalls) {
  const SyscallResult<int> epoll = syscalls->EpollCreate(EPOLL_CLOEXEC);
  if (!epoll.ok()) return ErrnoError(epoll.error, "epoll_create1");
  FileDescriptor descriptor(syscalls, epoll.value);

  PASSTHRU_ASSIGN_OR_RETURN(EventFd wake, EventFd::Create(syscalls));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kWakeId}};
  const SyscallResult<int> added =
      syscalls->EpollCtl(descriptor.get(), EPOLL_CTL_ADD, wake.fd(), &event);
  if (!added.ok()) {
    return ErrnoError(added.error, "epoll_ctl(ADD) of the wake-up eventfd");
  }
  return absl::WrapUnique(
      new EpollEventLoop(syscalls, std::move(descriptor), std::move(wake)));
}

EpollEventLoop::EpollEventLoop(Syscalls* syscalls, FileDescriptor epoll,
                               EventFd wake)
    : syscalls_(syscalls), epoll_(std::move(epoll)), wake_(std::move(wake)) {}

EpollEventLoop::~EpollEventLoop() {
  Stop();
  absl::MutexLock lock(&mutex_);
  CHECK(!runner_.has_value()) << "EpollEventLoop destroyed while it runs";
}

absl::Status EpollEventLoop::Add(int fd, bool edge_triggered,
                                 std::function<void()> callback) {
  absl::MutexLock lock(&mutex_);
  if (ids_.contains(fd)) {
    return absl::AlreadyExistsError(
        absl::StrCat("descriptor ", fd, " is already watched"));
  }
  const uint64_t id = next_id_++;
  epoll_event event = {
      .events = EPOLLIN | (edge_triggered ? static_cast<uint32_t>(EPOLLET) : 0),
      .data = {.u64 = id}};
  // mutex_ stays held from here until the handler is stored, so that Dispatch()
  // finds the handler of an event that arrives at once.
  const SyscallResult<int> added =
      syscalls_->EpollCtl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  if (!added.ok()) {
    return ErrnoError(added.error,
                      absl::StrCat("epoll_ctl(ADD) of descriptor ", fd));
  }
  ids_[fd] = id;
  handlers_[id] = std::make_unique<Handler>(
      Handler{.fd = fd, .id = id, .callback = std::move(callback)});
  return absl::OkStatus();
}

absl::Status EpollEventLoop::Remove(int fd) {
  std::unique_ptr<Handler> handler;  // Destroyed without the lock.
  absl::Status status;
  absl::MutexLock lock(&mutex_);
  const auto id = ids_.find(fd);
  if (id == ids_.end()) {
    status =
        absl::NotFoundError(absl::StrCat("descriptor ", fd, " is not watched"));
  } else {
    handler = std::move(handlers_.extract(id->second).mapped());
    ids_.erase(id);
    epoll_event unused = {};  // Linux before 2.6.9 requires a valid pointer.
    const SyscallResult<int> removed =
        syscalls_->EpollCtl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);
    if (!removed.ok()) {
      status = ErrnoError(removed.error,
                          absl::StrCat("epoll_ctl(DEL) of descriptor ", fd));
    }
  }
  if (running_id_ == 0 || running_fd_ != fd) return status;
  if (runner_ == std::this_thread::get_id()) {
    if (handler != nullptr && handler->id == running_id_) {
      removed_while_running_ = std::move(handler);
    }
    return status;
  }
  // No callback of this handler can start any more, so one wait suffices. A
  // caller that finds `fd` already removed waits as well, because Remove()
  // promises every caller that the callback has finished.
  const uint64_t awaited = running_id_;
  const auto finished = [this, awaited]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(
                            mutex_) { return running_id_ != awaited; };
  mutex_.Await(absl::Condition(&finished));
  return status;
}

absl::StatusOr<int> EpollEventLoop::WaitForEvents(int timeout_ms,
                                                  epoll_event* events,
                                                  int max_events) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline =
      Clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0));
  for (;;) {
    const SyscallResult<int> ready =
        syscalls_->EpollWait(epoll_.get(), events, max_events, timeout_ms);
    if (ready.ok()) return ready.value;
    if (ready.error != EINTR) return ErrnoError(ready.error, "epoll_wait");
    if (timeout_ms > 0) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      timeout_ms = std::max(static_cast<int>(left.count()), 0);
    }
  }
}

absl::StatusOr<int> EpollEventLoop::RunOnce(int timeout_ms) {
  return Run(timeout_ms, /*own_thread=*/false);
}

absl::StatusOr<int> EpollEventLoop::Run(int timeout_ms, bool own_thread) {
  {
    absl::MutexLock lock(&mutex_);
    if (runner_.has_value() || has_thread_ != own_thread) {
      return absl::FailedPreconditionError("the event loop is already running");
    }
    runner_ = std::this_thread::get_id();
  }
  absl::Cleanup leave = [this] {
    absl::MutexLock lock(&mutex_);
    runner_.reset();
  };

  std::array<epoll_event, kMaxEvents> events;
  PASSTHRU_ASSIGN_OR_RETURN(
      const int count, WaitForEvents(timeout_ms, events.data(), kMaxEvents));
  int ran = 0;
  for (int i = 0; i < count; ++i) {
    const uint64_t id = events[static_cast<size_t>(i)].data.u64;
    if (id == kWakeId) {
      PASSTHRU_RETURN_IF_ERROR(wake_.Read().status());
    } else if (Dispatch(id)) {
      ++ran;
    }
  }
  return ran;
}

bool EpollEventLoop::Dispatch(uint64_t id) {
  const Handler* handler = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = handlers_.find(id);
    if (found == handlers_.end()) return false;  // Removed since epoll_wait.
    handler = found->second.get();
    running_id_ = id;
    running_fd_ = handler->fd;
  }
  // Remove() of this handler waits for `running_id_` to change, so the handler
  // outlives the callback although mutex_ is not held.
  handler->callback();

  std::unique_ptr<Handler> removed;  // Destroyed without the lock.
  absl::MutexLock lock(&mutex_);
  removed = std::move(removed_while_running_);
  running_id_ = 0;
  running_fd_ = -1;
  return true;
}

absl::Status EpollEventLoop::Wake() { return wake_.Signal(); }

absl::Status EpollEventLoop::Start() {
  {
    // A callback must not wait for thread_mutex_, because Stop() holds that
    // while it waits for the callback.
    absl::MutexLock lock(&mutex_);
    if (runner_ == std::this_thread::get_id()) {
      return absl::FailedPreconditionError(
          "a callback cannot start its event loop, which is running");
    }
  }
  absl::MutexLock thread_lock(&thread_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    if (has_thread_) {
      return absl::FailedPreconditionError(
          "the event loop's thread is already started");
    }
    if (runner_.has_value()) {
      return absl::FailedPreconditionError("the event loop is already running");
    }
    stop_requested_ = false;
    has_thread_ = true;
  }
  JoinThread();  // One that ended by itself.
  const SyscallResult<pthread_t> started = syscalls_->StartThread(
      [](void* loop) -> void* {
        static_cast<EpollEventLoop*>(loop)->ThreadMain();
        return nullptr;
      },
      this);
  if (!started.ok()) {
    absl::MutexLock lock(&mutex_);
    has_thread_ = false;
    return ErrnoError(started.error,
                      "pthread_create for the event loop's thread");
  }
  thread_ = started.value;
  return absl::OkStatus();
}

void EpollEventLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_requested_ = true;
    if (runner_ == std::this_thread::get_id()) return;
  }
  absl::MutexLock thread_lock(&thread_mutex_);
  if (!thread_.has_value()) return;
  const absl::Status woken = Wake();
  // A write cannot fail, because only this loop uses the counter and drains it
  // at each wake-up.
  CHECK_OK(woken);
  JoinThread();
}

void EpollEventLoop::JoinThread() {
  if (!thread_.has_value()) return;
  const int error = pthread_join(*thread_, nullptr);
  CHECK_EQ(error, 0);
  thread_.reset();
}

bool EpollEventLoop::StopRequested() {
  absl::MutexLock lock(&mutex_);
  return stop_requested_;
}

void EpollEventLoop::ThreadMain() {
  while (!StopRequested()) {
    const absl::StatusOr<int> ran = Run(-1, /*own_thread=*/true);
    if (!ran.ok()) {
      LOG(ERROR) << "The event loop's thread ends: " << ran.status();
      break;
    }
  }
  absl::MutexLock lock(&mutex_);
  has_thread_ = false;
}

}  // namespace passthru::kernel
