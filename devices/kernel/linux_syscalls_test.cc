// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/linux_syscalls.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using testing::ElementsAre;

class LinuxSyscallsTest : public testing::Test {
 protected:
  LinuxSyscallsTest()
      : folder_(absl::StrCat(
            testing::TempDir(), "/",
            testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(folder_);
  }

  std::string Path(const char* name) const {
    return absl::StrCat(folder_, "/", name);
  }

  const std::string folder_;
  LinuxSyscalls linux_;
};

TEST_F(LinuxSyscallsTest, MissingFileIsEnoent) {
  EXPECT_EQ(linux_.Open(Path("none").c_str(), O_RDONLY).error, ENOENT);
}

TEST_F(LinuxSyscallsTest, SuccessLeavesErrorZeroWhateverErrnoWas) {
  errno = EBUSY;
  const SyscallResult<int> fd = linux_.Open("/dev/null", O_RDONLY);
  EXPECT_TRUE(fd.ok());
  EXPECT_TRUE(linux_.Close(fd.value).ok());
}

TEST_F(LinuxSyscallsTest, ClosingTwiceIsEbadf) {
  const SyscallResult<int> fd = linux_.Open("/dev/null", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  EXPECT_TRUE(linux_.Close(fd.value).ok());
  EXPECT_EQ(linux_.Close(fd.value).error, EBADF);
}

TEST_F(LinuxSyscallsTest, PositionedAccessIsPositioned) {
  std::ofstream(Path("f")) << "0123456789";
  const SyscallResult<int> fd = linux_.Open(Path("f").c_str(), O_RDWR);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(linux_.Pwrite(fd.value, "ab", 2, 4).value, 2u);
  char text[4] = {};
  EXPECT_EQ(linux_.Pread(fd.value, text, 4, 3).value, 4u);
  EXPECT_EQ(std::string(text, 4), "3ab6");
  EXPECT_EQ(linux_.Read(fd.value, text, 2).value, 2u);
  EXPECT_EQ(std::string(text, 2), "01");
  linux_.Close(fd.value);
}

TEST_F(LinuxSyscallsTest, OffsetBeyondOffTIsEinval) {
  const SyscallResult<int> fd = linux_.Open("/dev/zero", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  char byte = 0;
  EXPECT_EQ(linux_.Pread(fd.value, &byte, 1, uint64_t{1} << 63).error, EINVAL);
  linux_.Close(fd.value);
}

TEST_F(LinuxSyscallsTest, IoctlWritesThroughItsArgument) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  ASSERT_EQ(linux_.Write(pipe_fds[1], "abc", 3).value, 3u);
  int available = 0;
  EXPECT_TRUE(linux_.Ioctl(pipe_fds[0], FIONREAD, &available).ok());
  EXPECT_EQ(available, 3);
  linux_.Close(pipe_fds[0]);
  linux_.Close(pipe_fds[1]);
}

TEST_F(LinuxSyscallsTest, IoctlWithIntegerReportsErrno) {
  const SyscallResult<int> fd = linux_.Open("/dev/null", O_RDONLY);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(linux_.IoctlInt(fd.value, _IO(';', 100), 0).error, ENOTTY);
  linux_.Close(fd.value);
}

TEST_F(LinuxSyscallsTest, MapsAndUnmaps) {
  const SyscallResult<void*> mapped =
      linux_.Mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_TRUE(mapped.ok());
  *static_cast<uint8_t*>(mapped.value) = 1;
  EXPECT_TRUE(linux_.Munmap(mapped.value, 4096).ok());
}

TEST_F(LinuxSyscallsTest, MapFailureIsItsErrnoNotMapFailed) {
  const SyscallResult<void*> mapped =
      linux_.Mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(mapped.error, EINVAL);
  EXPECT_EQ(mapped.value, nullptr);
}

TEST_F(LinuxSyscallsTest, EpollAndPollSeeAnEventfd) {
  const SyscallResult<int> event = linux_.Eventfd(3, EFD_CLOEXEC);
  ASSERT_TRUE(event.ok());
  const SyscallResult<int> epoll = linux_.EpollCreate(EPOLL_CLOEXEC);
  ASSERT_TRUE(epoll.ok());
  epoll_event interest = {.events = EPOLLIN, .data = {.u64 = 77}};
  ASSERT_TRUE(
      linux_.EpollCtl(epoll.value, EPOLL_CTL_ADD, event.value, &interest).ok());
  epoll_event ready = {};
  EXPECT_EQ(linux_.EpollWait(epoll.value, &ready, 1, 0).value, 1);
  // epoll_event is packed, so EXPECT_EQ cannot take a reference to its member.
  const uint64_t data = ready.data.u64;
  EXPECT_EQ(data, 77u);
  pollfd poll = {.fd = event.value, .events = POLLIN, .revents = 0};
  EXPECT_EQ(linux_.Poll(&poll, 1, 0).value, 1);
  EXPECT_EQ(poll.revents, POLLIN);
  linux_.Close(epoll.value);
  linux_.Close(event.value);
}

TEST_F(LinuxSyscallsTest, LongLinkIsNotTruncated) {
  const std::string target(1000, 'x');
  std::filesystem::remove(Path("link"));
  std::filesystem::create_symlink(target, Path("link"));
  EXPECT_EQ(linux_.Readlink(Path("link").c_str()).value, target);
}

TEST_F(LinuxSyscallsTest, WhatIsNoLinkIsEinval) {
  EXPECT_EQ(linux_.Readlink(folder_.c_str()).error, EINVAL);
}

TEST_F(LinuxSyscallsTest, DirectoryIsSortedWithoutDots) {
  for (const char* name : {"b", "a", ".c"}) {
    const std::ofstream created(Path(name));
  }
  EXPECT_THAT(linux_.ReadDirectory(folder_.c_str()).value,
              ElementsAre(".c", "a", "b"));
}

TEST_F(LinuxSyscallsTest, MissingDirectoryIsEnoent) {
  EXPECT_EQ(linux_.ReadDirectory(Path("none").c_str()).error, ENOENT);
}

}  // namespace
}  // namespace passthru::kernel
