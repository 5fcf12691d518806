// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/eventfd_table.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>

#include "gtest/gtest.h"

namespace passthru::fake {
namespace {

class CountingWaiter final : public EventfdWaiter {
 public:
  void OnSignal() override { ++signals; }
  void OnHangup() override { ++hangups; }
  int signals = 0;
  int hangups = 0;
};

class EventfdTableTest : public ::testing::Test {
 protected:
  ~EventfdTableTest() override {
    if (fd_ >= 0) ::close(fd_);
  }

  std::shared_ptr<FakeEventfd> Get(int fd) {
    auto found = table_.Lookup(fd);
    EXPECT_EQ(found.error, 0);
    return found.value;
  }

  // Returns the count that user space reads, or 0 for EAGAIN.
  static uint64_t Read(int fd) {
    uint64_t count = 0;
    return ::read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
  }

  int fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  EventfdTable table_;
};

TEST_F(EventfdTableTest, ClosedDescriptorIsEbadf) {
  EXPECT_EQ(table_.Lookup(-1).error, EBADF);
}

TEST_F(EventfdTableTest, OtherFileIsEinval) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(table_.Lookup(null).error, EINVAL);
  ::close(null);
}

TEST_F(EventfdTableTest, OwnWantOfADescriptorIsEmfile) {
  const int fd = eventfd(0, EFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const int error = table_.Lookup(fd).error;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(error, EMFILE);
  close(fd);
}

TEST_F(EventfdTableTest, DuplicateIsTheSameObject) {
  const int duplicate = ::dup(fd_);
  EXPECT_EQ(Get(fd_), Get(duplicate));
  ::close(duplicate);
}

TEST_F(EventfdTableTest, OtherEventfdIsAnotherObject) {
  const int other = ::eventfd(0, EFD_CLOEXEC);
  EXPECT_NE(Get(fd_), Get(other));
  ::close(other);
}

TEST_F(EventfdTableTest, ReferenceOutlivesCloseAndTheNumbersReuse) {
  const auto eventfd = Get(fd_);
  ::close(fd_);
  const int reused = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ASSERT_EQ(reused, fd_) << "the number was not reused";
  EXPECT_NE(Get(fd_), eventfd);
  table_.Signal(*eventfd);
  EXPECT_EQ(Read(fd_), 0u) << "the new eventfd was signalled";
  EXPECT_TRUE(EventfdTable::Pending(*eventfd));
}

TEST_F(EventfdTableTest, SignalWithoutWaiterIsSeenByUserSpace) {
  const auto eventfd = Get(fd_);
  table_.Signal(*eventfd, 2);
  table_.Signal(*eventfd);
  EXPECT_EQ(Read(fd_), 3u);
}

TEST_F(EventfdTableTest, WaiterDrainsAndUserSpaceSeesNothing) {
  const auto eventfd = Get(fd_);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  table_.Signal(*eventfd);
  EXPECT_EQ(waiter.signals, 1);
  EXPECT_EQ(Read(fd_), 0u);
  table_.Detach(*eventfd, &waiter);
}

TEST_F(EventfdTableTest, AttachLeavesAPendingCount) {
  const auto eventfd = Get(fd_);
  table_.Signal(*eventfd);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  EXPECT_EQ(waiter.signals, 0);
  EXPECT_TRUE(EventfdTable::Pending(*eventfd));
  EXPECT_EQ(Read(fd_), 1u);
  table_.Detach(*eventfd, &waiter);
}

TEST_F(EventfdTableTest, DetachDiscardsAPendingCount) {
  const auto eventfd = Get(fd_);
  table_.Signal(*eventfd);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  table_.Detach(*eventfd, &waiter);
  EXPECT_EQ(Read(fd_), 0u);
}

TEST_F(EventfdTableTest, SignalOnceDrainsWhatWasPendingToo) {
  const auto eventfd = Get(fd_);
  table_.Signal(*eventfd, 5);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  table_.Signal(*eventfd);
  EXPECT_EQ(waiter.signals, 1);
  EXPECT_FALSE(EventfdTable::Pending(*eventfd));
  table_.Detach(*eventfd, &waiter);
}

TEST_F(EventfdTableTest, OnlyTheNewestWaiterIsWoken) {
  const auto eventfd = Get(fd_);
  CountingWaiter first;
  CountingWaiter second;
  table_.Attach(*eventfd, &first);
  table_.Attach(*eventfd, &second);
  table_.Signal(*eventfd);
  EXPECT_EQ(first.signals, 0);
  EXPECT_EQ(second.signals, 1);
  table_.Detach(*eventfd, &second);
  table_.Signal(*eventfd);
  EXPECT_EQ(first.signals, 1);
  table_.Detach(*eventfd, &first);
}

TEST_F(EventfdTableTest, WriteByUserSpaceWakesTheWaiter) {
  const auto eventfd = Get(fd_);
  EXPECT_FALSE(table_.SignalFromUser(fd_, 1));
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  EXPECT_TRUE(table_.SignalFromUser(fd_, 1));
  EXPECT_EQ(waiter.signals, 1);
  table_.Detach(*eventfd, &waiter);
  EXPECT_FALSE(table_.SignalFromUser(fd_, 1));
}

TEST_F(EventfdTableTest, WriteToAnotherEventfdIsNotTheFakes) {
  const int other = ::eventfd(0, EFD_CLOEXEC);
  const auto eventfd = Get(fd_);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  EXPECT_FALSE(table_.SignalFromUser(other, 1));
  table_.Detach(*eventfd, &waiter);
  ::close(other);
}

TEST_F(EventfdTableTest, DrainOfABlockingEventfdDoesNotBlock) {
  const int blocking = ::eventfd(0, EFD_CLOEXEC);
  const auto eventfd = Get(blocking);
  EXPECT_EQ(EventfdTable::Drain(*eventfd), 0u);
  table_.Signal(*eventfd, 7);
  EXPECT_EQ(EventfdTable::Drain(*eventfd), 7u);
  ::close(blocking);
}

TEST_F(EventfdTableTest, LastCloseHangsUpTheWaiter) {
  const auto eventfd = Get(fd_);
  const int duplicate = ::dup(fd_);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  const std::string identity = EventfdTable::IdentityOf(fd_);
  ::close(fd_);
  fd_ = -1;
  table_.OnClosed(identity);
  EXPECT_EQ(waiter.hangups, 0);
  ::close(duplicate);
  table_.OnClosed(identity);
  EXPECT_EQ(waiter.hangups, 1);
  EXPECT_FALSE(table_.has_waiters());
}

TEST_F(EventfdTableTest, CountsWhatTheKernelHolds) {
  EXPECT_EQ(table_.live(), 0u);
  auto eventfd = Get(fd_);
  EXPECT_EQ(table_.live(), 1u);
  eventfd.reset();
  EXPECT_EQ(table_.live(), 0u);
}

TEST_F(EventfdTableTest, ServiceSeesWhatBypassedTheTable) {
  const auto eventfd = Get(fd_);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  ASSERT_EQ(::eventfd_write(fd_, 1), 0);
  EXPECT_EQ(waiter.signals, 0);
  table_.Service();
  EXPECT_EQ(waiter.signals, 1);
  EXPECT_EQ(Read(fd_), 0u);
  table_.Service();
  EXPECT_EQ(waiter.signals, 1);
  table_.Detach(*eventfd, &waiter);
}

TEST_F(EventfdTableTest, SweepHangsUpWhatNoProcessHasOpen) {
  const int event = ::eventfd(0, EFD_CLOEXEC);
  const auto eventfd = Get(event);
  CountingWaiter waiter;
  table_.Attach(*eventfd, &waiter);
  table_.Sweep();
  EXPECT_EQ(waiter.hangups, 0);
  ::close(event);
  table_.Sweep();
  EXPECT_EQ(waiter.hangups, 1);
}

}  // namespace
}  // namespace passthru::fake
