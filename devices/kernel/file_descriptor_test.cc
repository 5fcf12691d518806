// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/file_descriptor.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Records the descriptors that are closed instead of closing them.
class RecordingSyscalls : public ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  SyscallResult<int> Close(int fd) override {
    closed.push_back(fd);
    return {};
  }
  std::vector<int> closed;
};

class FileDescriptorTest : public testing::Test {
 protected:
  LinuxSyscalls linux_;
  RecordingSyscalls syscalls_{&linux_};
};

TEST_F(FileDescriptorTest, DefaultIsInvalidAndClosesNothing) {
  {
    FileDescriptor fd;
    EXPECT_FALSE(fd.valid());
  }
  EXPECT_THAT(syscalls_.closed, IsEmpty());
}

TEST_F(FileDescriptorTest, ClosesOnceOnDestruction) {
  {
    FileDescriptor fd(&syscalls_, 7);
    EXPECT_TRUE(fd.valid());
    EXPECT_EQ(fd.get(), 7);
  }
  EXPECT_THAT(syscalls_.closed, ElementsAre(7));
}

TEST_F(FileDescriptorTest, DescriptorZeroIsOneToo) {
  {
    FileDescriptor fd(&syscalls_, 0);
    EXPECT_TRUE(fd.valid());
  }
  EXPECT_THAT(syscalls_.closed, ElementsAre(0));
}

TEST_F(FileDescriptorTest, MovingPassesOwnership) {
  {
    FileDescriptor a(&syscalls_, 7);
    FileDescriptor b = std::move(a);
    EXPECT_FALSE(a.valid());  // NOLINT(bugprone-use-after-move): documented.
    EXPECT_EQ(b.get(), 7);
  }
  EXPECT_THAT(syscalls_.closed, ElementsAre(7));
}

TEST_F(FileDescriptorTest, AssignmentClosesWhatWasHeld) {
  FileDescriptor a(&syscalls_, 7);
  a = FileDescriptor(&syscalls_, 8);
  EXPECT_THAT(syscalls_.closed, ElementsAre(7));
  EXPECT_EQ(a.get(), 8);
}

TEST_F(FileDescriptorTest, AssignmentToItselfKeepsIt) {
  FileDescriptor a(&syscalls_, 7);
  FileDescriptor& same = a;
  a = std::move(same);
  EXPECT_EQ(a.get(), 7);
  EXPECT_THAT(syscalls_.closed, IsEmpty());
}

TEST_F(FileDescriptorTest, ReleaseGivesItUpOpen) {
  {
    FileDescriptor fd(&syscalls_, 7);
    EXPECT_EQ(fd.release(), 7);
    EXPECT_FALSE(fd.valid());
  }
  EXPECT_THAT(syscalls_.closed, IsEmpty());
}

TEST_F(FileDescriptorTest, ResetClosesNowAndNotAgain) {
  {
    FileDescriptor fd(&syscalls_, 7);
    fd.reset();
    EXPECT_THAT(syscalls_.closed, ElementsAre(7));
  }
  EXPECT_THAT(syscalls_.closed, ElementsAre(7));
}

}  // namespace
}  // namespace passthru::kernel
