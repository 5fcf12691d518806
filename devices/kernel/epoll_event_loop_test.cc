// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/epoll_event_loop.h"

#include <sys/epoll.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;

class EventLoopTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<EpollEventLoop>> loop =
        EpollEventLoop::Create(&linux_);
    ASSERT_THAT(loop, IsOk());
    loop_ = *std::move(loop);
    absl::StatusOr<EventFd> event = EventFd::Create(&linux_);
    ASSERT_THAT(event, IsOk());
    event_ = std::make_unique<EventFd>(*std::move(event));
  }

  LinuxSyscalls linux_;
  std::unique_ptr<EpollEventLoop> loop_;
  std::unique_ptr<EventFd> event_;
};

TEST_F(EventLoopTest, NothingToDoTimesOut) {
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
  EXPECT_THAT(loop_->RunOnce(1), IsOkAndHolds(0));
}

TEST_F(EventLoopTest, SignalRunsTheCallback) {
  int calls = 0;
  ASSERT_THAT(loop_->Add(event_->fd(), false, [&] { ++calls; }), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(-1), IsOkAndHolds(1));
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, LevelTriggeredRunsUntilTheCountIsTaken) {
  int calls = 0;
  ASSERT_THAT(loop_->Add(event_->fd(), false, [&] { ++calls; }), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  ASSERT_THAT(event_->Read(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
  EXPECT_EQ(calls, 2);
}

TEST_F(EventLoopTest, EdgeTriggeredRunsOncePerSignal) {
  int calls = 0;
  ASSERT_THAT(loop_->Add(event_->fd(), true, [&] { ++calls; }), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(calls, 2);
}

TEST_F(EventLoopTest, WhatWasPendingAtAddRunsEdgeTriggeredToo) {
  int calls = 0;
  ASSERT_THAT(event_->Signal(), IsOk());
  ASSERT_THAT(loop_->Add(event_->fd(), true, [&] { ++calls; }), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
}

TEST_F(EventLoopTest, DescriptorIsWatchedOnce) {
  ASSERT_THAT(loop_->Add(event_->fd(), false, [] {}), IsOk());
  EXPECT_THAT(loop_->Add(event_->fd(), false, [] {}),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(EventLoopTest, ClosedDescriptorCannotBeAdded) {
  const int fd = event_->fd();
  event_.reset();
  EXPECT_EQ(ErrnoOf(loop_->Add(fd, false, [] {})), EBADF);
}

TEST_F(EventLoopTest, RemovingWhatIsNotWatchedIsNotFound) {
  EXPECT_THAT(loop_->Remove(event_->fd()),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(EventLoopTest, RemovedCallbackDoesNotRunAndIsDestroyed) {
  auto token = std::make_shared<int>(0);
  ASSERT_THAT(loop_->Add(event_->fd(), false, [token] { ++*token; }), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
  EXPECT_EQ(*token, 0);
}

TEST_F(EventLoopTest, CallbackMayRemoveItself) {
  auto token = std::make_shared<int>(0);
  ASSERT_THAT(loop_->Add(event_->fd(), false,
                         [this, token] {
                           EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
                           // The captures live until the callback returns.
                           EXPECT_EQ(token.use_count(), 2);
                           ++*token;
                         }),
              IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(*token, 1);
  EXPECT_EQ(token.use_count(), 1);
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
}

TEST_F(EventLoopTest, CallbackMayReplaceItself) {
  int replaced = 0;
  ASSERT_THAT(loop_->Add(event_->fd(), false,
                         [&] {
                           EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
                           EXPECT_THAT(loop_->Add(event_->fd(), false,
                                                  [&] { ++replaced; }),
                                       IsOk());
                         }),
              IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(replaced, 0);
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(replaced, 1);
}

// Two descriptors are ready in one epoll_wait(2). The callback that runs first
// removes the other one, whose event the loop must then drop.
TEST_F(EventLoopTest, EventFetchedBeforeRemovalIsDropped) {
  absl::StatusOr<EventFd> other = EventFd::Create(&linux_);
  ASSERT_THAT(other, IsOk());
  int calls = 0;
  ASSERT_THAT(loop_->Add(event_->fd(), false,
                         [&] {
                           ++calls;
                           EXPECT_THAT(loop_->Remove(other->fd()), IsOk());
                         }),
              IsOk());
  ASSERT_THAT(loop_->Add(other->fd(), false,
                         [&] {
                           ++calls;
                           EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
                         }),
              IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  ASSERT_THAT(other->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(calls, 1);
}

// As above, but the descriptor's number has a new owner by the time the loop
// looks at the old event.
TEST_F(EventLoopTest, EventOfAnOldOwnerDoesNotReachTheNewOne) {
  absl::StatusOr<EventFd> other = EventFd::Create(&linux_);
  ASSERT_THAT(other, IsOk());
  int calls = 0;
  int new_calls = 0;
  const auto replace = [&](EventFd& victim) {
    ++calls;
    EXPECT_THAT(loop_->Remove(victim.fd()), IsOk());
    EXPECT_THAT(victim.Read(), IsOk());
    EXPECT_THAT(loop_->Add(victim.fd(), false, [&] { ++new_calls; }), IsOk());
  };
  ASSERT_THAT(loop_->Add(event_->fd(), true, [&] { replace(*other); }), IsOk());
  ASSERT_THAT(loop_->Add(other->fd(), true, [&] { replace(*event_); }), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  ASSERT_THAT(other->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(new_calls, 0);
}

TEST_F(EventLoopTest, RunOnceInsideACallbackIsRefused) {
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           EXPECT_THAT(
                               loop_->RunOnce(0),
                               StatusIs(absl::StatusCode::kFailedPrecondition));
                         }),
              IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
}

TEST_F(EventLoopTest, WakeEndsAWaitWithoutATimeout) {
  ASSERT_THAT(loop_->Wake(), IsOk());
  EXPECT_THAT(loop_->RunOnce(-1), IsOkAndHolds(0));
  // The first RunOnce() has consumed the wake-up.
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(0));
}

TEST_F(EventLoopTest, WakeFromAnotherThreadEndsAWait) {
  std::thread waker([&] { EXPECT_THAT(loop_->Wake(), IsOk()); });
  EXPECT_THAT(loop_->RunOnce(-1), IsOkAndHolds(0));
  waker.join();
}

TEST_F(EventLoopTest, ThreadRunsCallbacks) {
  absl::Notification called;
  ASSERT_THAT(loop_->Add(event_->fd(), true, [&] { called.Notify(); }), IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  called.WaitForNotification();
  loop_->Stop();
}

TEST_F(EventLoopTest, StoppedThreadCanBeStartedAgain) {
  ASSERT_THAT(loop_->Start(), IsOk());
  loop_->Stop();
  absl::Notification called;
  ASSERT_THAT(loop_->Add(event_->fd(), true, [&] { called.Notify(); }), IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  called.WaitForNotification();
}

TEST_F(EventLoopTest, StopsWithoutHavingStarted) { loop_->Stop(); }

TEST_F(EventLoopTest, SecondStartIsRefused) {
  ASSERT_THAT(loop_->Start(), IsOk());
  EXPECT_THAT(loop_->Start(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(EventLoopTest, RunOnceBesideTheThreadIsRefused) {
  ASSERT_THAT(loop_->Start(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(EventLoopTest, StartInsideRunOnceIsRefused) {
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           EXPECT_THAT(
                               loop_->Start(),
                               StatusIs(absl::StatusCode::kFailedPrecondition));
                         }),
              IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  EXPECT_THAT(loop_->RunOnce(0), IsOkAndHolds(1));
}

// Stop() holds the lock that Start() needs until the callback has returned.
TEST_F(EventLoopTest, StartInsideACallbackIsRefusedWhileAnotherThreadStops) {
  absl::Notification running;
  absl::Notification stopping;
  absl::Status status;
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           running.Notify();
                           stopping.WaitForNotification();
                           status = loop_->Start();
                         }),
              IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  running.WaitForNotification();
  std::thread stopper([&] {
    stopping.Notify();
    loop_->Stop();
  });
  stopper.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(EventLoopTest, CallbackMayStopItsThread) {
  absl::Notification called;
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           loop_->Stop();
                           called.Notify();
                         }),
              IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  called.WaitForNotification();
  loop_->Stop();
}

TEST_F(EventLoopTest, RemoveWaitsForTheRunningCallback) {
  absl::Notification started;
  absl::Notification finish;
  std::atomic<bool> finished = false;
  std::atomic<bool> removed = false;
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           started.Notify();
                           finish.WaitForNotification();
                           EXPECT_FALSE(removed);
                           finished = true;
                         }),
              IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  started.WaitForNotification();
  std::thread remover([&] {
    EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
    removed = true;
    EXPECT_TRUE(finished);
  });
  // The descriptor can be added again as soon as Remove() has taken it out.
  // From then on Remove() only waits for the callback.
  while (!loop_->Add(event_->fd(), true, [] {}).ok()) std::this_thread::yield();
  finish.Notify();
  remover.join();
}

TEST_F(EventLoopTest, LateRemoverOfTheSameDescriptorWaitsToo) {
  absl::Notification started;
  absl::Notification finish;
  std::atomic<bool> finished = false;
  ASSERT_THAT(loop_->Add(event_->fd(), true,
                         [&] {
                           EXPECT_THAT(loop_->Remove(event_->fd()), IsOk());
                           started.Notify();
                           finish.WaitForNotification();
                           finished = true;
                         }),
              IsOk());
  ASSERT_THAT(loop_->Start(), IsOk());
  ASSERT_THAT(event_->Signal(), IsOk());
  started.WaitForNotification();
  std::thread remover([&] {
    EXPECT_THAT(loop_->Remove(event_->fd()),
                StatusIs(absl::StatusCode::kNotFound));
    EXPECT_TRUE(finished);
  });
  finish.Notify();
  remover.join();
}

// Two threads signal and a third adds and removes while the loop runs, as in a
// storm of interrupts that the guest masks and unmasks. After each Remove() the
// test writes the callback's state without synchronization. ThreadSanitizer
// would report that write if the callback were still running.
TEST_F(EventLoopTest, StormOfSignalsAgainstAddAndRemove) {
  constexpr int kRounds = 2000;
  ASSERT_THAT(loop_->Start(), IsOk());
  std::atomic<bool> stop = false;
  std::vector<std::thread> signallers;
  signallers.reserve(2);
  for (int i = 0; i < 2; ++i) {
    signallers.emplace_back([&] {
      while (!stop) EXPECT_THAT(event_->Signal(), IsOk());
    });
  }
  int64_t unsynchronized = 0;
  int64_t total = 0;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_THAT(loop_->Add(event_->fd(), /*edge_triggered=*/round % 2 == 0,
                           [&] {
                             ++unsynchronized;
                             EXPECT_THAT(event_->Read(), IsOk());
                           }),
                IsOk());
    if (round % 8 == 0) std::this_thread::yield();
    ASSERT_THAT(loop_->Remove(event_->fd()), IsOk());
    total += std::exchange(unsynchronized, 0);
  }
  stop = true;
  for (std::thread& signaller : signallers) signaller.join();
  loop_->Stop();
  RecordProperty("callbacks", std::to_string(total));
}

// Returns the errors of epoll calls that a test asks for.
class OddSyscalls : public ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  SyscallResult<int> EpollCreate(int flags) override {
    if (create_error != 0) return {.error = create_error};
    return ForwardingSyscalls::EpollCreate(flags);
  }
  SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                              epoll_event* event) override {
    if (ctl_error != 0) return {.error = ctl_error};
    return ForwardingSyscalls::EpollCtl(epoll_fd, operation, fd, event);
  }
  SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                               int max_events, int timeout_ms) override {
    {
      absl::MutexLock lock(&mutex);
      timeouts.push_back(timeout_ms);
      if (interrupts > 0) {
        --interrupts;
        return {.error = EINTR};
      }
    }
    if (wait_error != 0) return {.error = wait_error};
    return ForwardingSyscalls::EpollWait(epoll_fd, events, max_events,
                                         timeout_ms);
  }
  SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                       void* argument) override {
    if (thread_error != 0) return {.error = thread_error};
    return ForwardingSyscalls::StartThread(body, argument);
  }
  int create_error = 0;
  int ctl_error = 0;
  std::atomic<int> wait_error = 0;
  int thread_error = 0;
  absl::Mutex mutex;
  int interrupts = 0;
  std::vector<int> timeouts;
};

class EventLoopErrorTest : public testing::Test {
 protected:
  std::unique_ptr<EpollEventLoop> MakeLoop() {
    absl::StatusOr<std::unique_ptr<EpollEventLoop>> loop =
        EpollEventLoop::Create(&syscalls_);
    EXPECT_THAT(loop, IsOk());
    return *std::move(loop);
  }

  LinuxSyscalls linux_;
  OddSyscalls syscalls_{&linux_};
};

TEST_F(EventLoopErrorTest, CreationReportsEpollCreate) {
  syscalls_.create_error = EMFILE;
  EXPECT_EQ(ErrnoOf(EpollEventLoop::Create(&syscalls_).status()), EMFILE);
}

TEST_F(EventLoopErrorTest, CreationReportsEpollCtl) {
  syscalls_.ctl_error = ENOSPC;
  EXPECT_EQ(ErrnoOf(EpollEventLoop::Create(&syscalls_).status()), ENOSPC);
}

TEST_F(EventLoopErrorTest, InterruptedWaitGoesOn) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  ASSERT_THAT(loop->Wake(), IsOk());
  syscalls_.interrupts = 3;
  EXPECT_THAT(loop->RunOnce(-1), IsOkAndHolds(0));
  EXPECT_THAT(syscalls_.timeouts, testing::ElementsAre(-1, -1, -1, -1));
}

TEST_F(EventLoopErrorTest, InterruptsDoNotExtendATimeout) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  ASSERT_THAT(loop->Wake(), IsOk());
  syscalls_.interrupts = 2;
  EXPECT_THAT(loop->RunOnce(60000), IsOkAndHolds(0));
  ASSERT_EQ(syscalls_.timeouts.size(), 3u);
  EXPECT_EQ(syscalls_.timeouts[0], 60000);
  EXPECT_LE(syscalls_.timeouts[1], 60000);
  EXPECT_LE(syscalls_.timeouts[2], syscalls_.timeouts[1]);
  EXPECT_GE(syscalls_.timeouts[2], 0);
}

TEST_F(EventLoopErrorTest, WaitErrorIsReported) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  syscalls_.wait_error = EBADF;
  EXPECT_EQ(ErrnoOf(loop->RunOnce(0).status()), EBADF);
}

TEST_F(EventLoopErrorTest, AThreadThatCannotBeStartedIsReported) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  syscalls_.thread_error = EAGAIN;
  EXPECT_EQ(ErrnoOf(loop->Start()), EAGAIN);
  EXPECT_THAT(loop->RunOnce(0), IsOkAndHolds(0));
  loop->Stop();
  syscalls_.thread_error = 0;
  EXPECT_THAT(loop->Start(), IsOk());
}

TEST_F(EventLoopErrorTest, AThreadThatEndsLeavesTheLoopToOthers) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  syscalls_.wait_error = EINVAL;
  ASSERT_THAT(loop->Start(), IsOk());
  // RunOnce() is refused until the thread has found the error and ended.
  absl::Status status;
  do {
    status = loop->RunOnce(0).status();
  } while (absl::IsFailedPrecondition(status));
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  syscalls_.wait_error = 0;
  EXPECT_THAT(loop->RunOnce(0), IsOkAndHolds(0));
  // So is another thread.
  absl::Notification ran;
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  ASSERT_THAT(loop->Start(), IsOk());
  ASSERT_THAT(loop->Add(event->fd(), true, [&] { ran.Notify(); }), IsOk());
  ASSERT_THAT(event->Signal(), IsOk());
  ran.WaitForNotification();
  loop->Stop();
}

TEST_F(EventLoopErrorTest, RefusedDescriptorIsNotWatched) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  syscalls_.ctl_error = ENOMEM;
  EXPECT_EQ(ErrnoOf(loop->Add(event->fd(), false, [] {})), ENOMEM);
  syscalls_.ctl_error = 0;
  EXPECT_THAT(loop->Add(event->fd(), false, [] {}), IsOk());
}

TEST_F(EventLoopErrorTest, FailedRemovalStillForgetsTheCallback) {
  const std::unique_ptr<EpollEventLoop> loop = MakeLoop();
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  int calls = 0;
  ASSERT_THAT(loop->Add(event->fd(), true, [&] { ++calls; }), IsOk());
  syscalls_.ctl_error = EBADF;
  EXPECT_EQ(ErrnoOf(loop->Remove(event->fd())), EBADF);
  ASSERT_THAT(event->Signal(), IsOk());
  EXPECT_THAT(loop->RunOnce(0), IsOkAndHolds(0));
  EXPECT_EQ(calls, 0);
}

}  // namespace
}  // namespace passthru::kernel
