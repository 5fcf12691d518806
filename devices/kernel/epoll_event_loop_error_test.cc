// SPDX-License-Identifier: Apache-2.0
//
// What an event loop does when the kernel refuses its calls or interrupts them.

#include <sys/epoll.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;

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
