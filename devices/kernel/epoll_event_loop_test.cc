// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/epoll_event_loop.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/linux_syscalls.h"

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

}  // namespace
}  // namespace passthru::kernel
