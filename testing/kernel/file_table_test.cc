// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/file_table.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class CountingFile final : public FakeFile {
 public:
  std::string Describe() const override { return "counting"; }
  void OnRelease() override { ++releases; }
  int releases = 0;
};

class FileTableTest : public ::testing::Test {
 protected:
  int Install() {
    const auto installed = table_.Install(file_);
    EXPECT_EQ(installed.error, 0);
    return installed.value;
  }

  std::shared_ptr<CountingFile> file_ = std::make_shared<CountingFile>();
  FileTable table_;
};

TEST_F(FileTableTest, HandsOutRealDescriptors) {
  const int fd = Install();
  EXPECT_TRUE(FileTable::IsOpen(fd));
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(table_.Lookup(fd).get(), file_.get());
  EXPECT_EQ(table_.Close(fd).error, 0);
  EXPECT_FALSE(FileTable::IsOpen(fd));
}

TEST_F(FileTableTest, CloseOnExecIsTheCallersChoice) {
  const auto installed = table_.Install(file_, /*close_on_exec=*/false);
  ASSERT_TRUE(installed.ok());
  EXPECT_EQ(::fcntl(installed.value, F_GETFD), 0);
  EXPECT_EQ(table_.Close(installed.value).error, 0);
}

TEST_F(FileTableTest, ReleasesOnceOnLastClose) {
  const int fd = Install();
  const int duplicate = ::dup(fd);
  EXPECT_EQ(table_.Lookup(duplicate).get(), file_.get());
  EXPECT_EQ(table_.Close(fd).error, 0);
  EXPECT_EQ(file_->releases, 0);
  EXPECT_EQ(table_.Lookup(duplicate).get(), file_.get());
  EXPECT_EQ(table_.Close(duplicate).error, 0);
  EXPECT_EQ(file_->releases, 1);
}

TEST_F(FileTableTest, ReferenceHoldsTheFileOpen) {
  const int fd = Install();
  FileRef reference = table_.Lookup(fd);
  EXPECT_EQ(table_.Close(fd).error, 0);
  EXPECT_THAT(table_.OpenFiles(), IsEmpty());
  EXPECT_EQ(file_->releases, 0);
  reference.reset();
  EXPECT_EQ(file_->releases, 1);
}

TEST_F(FileTableTest, CloseBehindTheTableIsFoundBySweep) {
  const int fd = Install();
  ::close(fd);
  EXPECT_EQ(file_->releases, 0);
  table_.Sweep();
  EXPECT_EQ(file_->releases, 1);
}

TEST_F(FileTableTest, NumberReusedByTheRealKernelIsNotTheFakes) {
  const int fd = Install();
  ::close(fd);
  const int reused = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::dup2(reused, fd), fd);
  EXPECT_EQ(table_.Lookup(fd), nullptr);
  ::close(reused);
  ::close(fd);
}

TEST_F(FileTableTest, SomebodyElsesPipeIsNotTheFakes) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  EXPECT_EQ(table_.Lookup(ends[0]), nullptr);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(FileTableTest, ClosedNumberIsEbadf) {
  EXPECT_EQ(table_.Close(-1).error, EBADF);
  EXPECT_EQ(table_.Lookup(-1), nullptr);
}

TEST_F(FileTableTest, ListsWhatIsOpen) {
  const int fd = Install();
  const auto open = table_.OpenFiles();
  ASSERT_THAT(open, SizeIs(1));
  EXPECT_EQ(open[0].fd, fd);
  EXPECT_EQ(open[0].description, "counting");
  EXPECT_EQ(table_.Close(fd).error, 0);
}

TEST_F(FileTableTest, TaskGetsTheFileAtItsReservedNumber) {
  journal::Task task(
      ::getpid(), static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  const journal::ScopedTask current(&task);
  EXPECT_EQ(table_.Install(file_).error, EMFILE) << "it has reserved none";
  const int reserved = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  task.reserved_fd = reserved;
  EXPECT_EQ(table_.Install(file_).value, reserved);
  ASSERT_GE(task.made_fd, 0);
  EXPECT_EQ(::fcntl(task.made_fd, F_GETSIG), FileTable::kMark);
  EXPECT_EQ(::dup2(task.made_fd, reserved), reserved);
  ::close(task.made_fd);
  EXPECT_EQ(table_.Lookup(reserved).get(), file_.get());
  table_.Sweep();
  EXPECT_EQ(file_->releases, 0);
  ::close(reserved);
  table_.Sweep();
  EXPECT_EQ(file_->releases, 1);
}

}  // namespace
}  // namespace passthru::fake
