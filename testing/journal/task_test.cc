// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/task.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::journal {
namespace {

using ::testing::Contains;
using ::testing::Not;

// A child that does nothing until the test ends.
class TaskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe(pipe_), 0);
    child_ = ::fork();
    if (child_ == 0) {
      word_ = 2;
      ::close(pipe_[0]);
      ::close(0);
      [[maybe_unused]] ssize_t written = ::write(pipe_[1], "r", 1);
      for (;;) ::pause();
    }
    char ready;
    ASSERT_EQ(::read(pipe_[0], &ready, 1), 1);
  }
  void TearDown() override {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }

  int PidFd() const {
    return static_cast<int>(::syscall(SYS_pidfd_open, child_, 0));
  }

  static inline volatile uint32_t word_ = 1;
  static const void* Word() { return const_cast<uint32_t*>(&word_); }

  pid_t child_ = -1;
  int pipe_[2] = {-1, -1};
};

TEST_F(TaskTest, AddressesAreThoseOfTheCurrentTask) {
  Task task(child_, PidFd());
  EXPECT_EQ(CopyFromUser<uint32_t>(Word()), 1u);
  {
    const ScopedTask current(&task);
    EXPECT_EQ(CurrentProcess(), child_);
    EXPECT_EQ(CopyFromUser<uint32_t>(Word()), 2u);
    EXPECT_TRUE(CopyToUser(const_cast<void*>(Word()), uint32_t{3}));
    EXPECT_EQ(CopyFromUser<uint32_t>(Word()), 3u);
  }
  EXPECT_EQ(CurrentProcess(), 0);
  EXPECT_EQ(CopyFromUser<uint32_t>(Word()), 1u);
}

TEST_F(TaskTest, DescriptorsAreThoseOfTheCurrentTask) {
  Task task(child_, PidFd());
  EXPECT_EQ(LocalFd(0).get(), 0);
  const ScopedTask current(&task);
  const LocalFd closed(0);
  EXPECT_EQ(closed.get(), -1);
  EXPECT_EQ(closed.error(), EBADF);
  const LocalFd open(pipe_[1]);
  EXPECT_GE(open.get(), 0);
  EXPECT_NE(open.get(), pipe_[1]);
}

TEST_F(TaskTest, TasksAreListedWhileTheyLive) {
  {
    const Task task(child_, PidFd());
    EXPECT_THAT(TaskProcesses(), Contains(child_));
  }
  EXPECT_THAT(TaskProcesses(), Not(Contains(child_)));
}

}  // namespace
}  // namespace passthru::journal
