// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/event_fd.h"

#include <fcntl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;

TEST(EventFdTest, IsNonBlockingAndClosedOnExec) {
  LinuxSyscalls linux;
  const absl::StatusOr<EventFd> event = EventFd::Create(&linux);
  ASSERT_THAT(event, IsOk());
  EXPECT_NE(::fcntl(event->fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(event->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(EventFdTest, ReadTakesTheSumOfSignals) {
  LinuxSyscalls linux;
  absl::StatusOr<EventFd> event = EventFd::Create(&linux);
  ASSERT_THAT(event, IsOk());
  EXPECT_THAT(event->Signal(), IsOk());
  EXPECT_THAT(event->Signal(41), IsOk());
  EXPECT_THAT(event->Read(), IsOkAndHolds(42));
  EXPECT_THAT(event->Read(), IsOkAndHolds(0));
}

TEST(EventFdTest, FullCounterRefusesASignal) {
  LinuxSyscalls linux;
  absl::StatusOr<EventFd> event = EventFd::Create(&linux);
  ASSERT_THAT(event, IsOk());
  ASSERT_THAT(event->Signal(std::numeric_limits<uint64_t>::max() - 1), IsOk());
  EXPECT_EQ(ErrnoOf(event->Signal()), EAGAIN);
}

TEST(EventFdTest, MovedDescriptorWorks) {
  LinuxSyscalls linux;
  absl::StatusOr<EventFd> event = EventFd::Create(&linux);
  ASSERT_THAT(event, IsOk());
  const int fd = event->fd();
  EventFd moved = *std::move(event);
  EXPECT_EQ(moved.fd(), fd);
  EXPECT_THAT(moved.Signal(), IsOk());
  EXPECT_THAT(moved.Read(), IsOkAndHolds(1));
}

// Returns the errors and short reads of eventfds that a test asks for.
class OddSyscalls : public ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  SyscallResult<int> Eventfd(unsigned initial, int flags) override {
    if (eventfd_error != 0) return {.error = eventfd_error};
    return ForwardingSyscalls::Eventfd(initial, flags);
  }
  SyscallResult<size_t> Read(int fd, void* buffer, size_t count) override {
    if (interrupts-- > 0) return {.error = EINTR};
    if (short_read) return {.value = 4};
    if (read_error != 0) return {.error = read_error};
    return ForwardingSyscalls::Read(fd, buffer, count);
  }
  SyscallResult<size_t> Write(int fd, const void* buffer,
                              size_t count) override {
    if (interrupts-- > 0) return {.error = EINTR};
    return ForwardingSyscalls::Write(fd, buffer, count);
  }
  int eventfd_error = 0;
  int read_error = 0;
  int interrupts = 0;
  bool short_read = false;
};

class EventFdErrorTest : public testing::Test {
 protected:
  LinuxSyscalls linux_;
  OddSyscalls syscalls_{&linux_};
};

TEST_F(EventFdErrorTest, CreationFailsWithoutDescriptors) {
  syscalls_.eventfd_error = EMFILE;
  EXPECT_EQ(ErrnoOf(EventFd::Create(&syscalls_).status()), EMFILE);
}

TEST_F(EventFdErrorTest, SignalsDoNotInterruptReadOrSignal) {
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  syscalls_.interrupts = 3;
  EXPECT_THAT(event->Signal(), IsOk());
  syscalls_.interrupts = 3;
  EXPECT_THAT(event->Read(), IsOkAndHolds(1));
}

TEST_F(EventFdErrorTest, ReadErrorIsReported) {
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  syscalls_.read_error = EBADF;
  EXPECT_EQ(ErrnoOf(event->Read().status()), EBADF);
}

TEST_F(EventFdErrorTest, ShortReadIsNotTakenForACount) {
  absl::StatusOr<EventFd> event = EventFd::Create(&syscalls_);
  ASSERT_THAT(event, IsOk());
  syscalls_.short_read = true;
  EXPECT_THAT(event->Read(), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace passthru::kernel
