// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/read_file.h"

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using absl_testing::IsOkAndHolds;

// Reads one byte at a time and returns EINTR from every other call.
class SlowSyscalls : public ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  SyscallResult<size_t> Read(int fd, void* buffer, size_t count) override {
    if (error != 0) return {.error = error};
    interrupt = !interrupt;
    if (interrupt) return {.error = EINTR};
    return ForwardingSyscalls::Read(fd, buffer, count == 0 ? 0 : 1);
  }
  bool interrupt = false;
  int error = 0;
};

class ReadFileTest : public testing::Test {
 protected:
  ReadFileTest() : path_(absl::StrCat(testing::TempDir(), "/read_file_test")) {
    std::ofstream(path_) << "vfio-pci\n";
  }

  const std::string path_;
  LinuxSyscalls linux_;
  SlowSyscalls slow_{&linux_};
};

TEST_F(ReadFileTest, ReadsTheWholeFile) {
  EXPECT_THAT(ReadFile(&linux_, path_), IsOkAndHolds("vfio-pci\n"));
}

TEST_F(ReadFileTest, PiecesAndSignalsMakeNoDifference) {
  EXPECT_THAT(ReadFile(&slow_, path_), IsOkAndHolds("vfio-pci\n"));
}

TEST_F(ReadFileTest, StopsAtTheLimit) {
  EXPECT_THAT(ReadFile(&linux_, path_, 4), IsOkAndHolds("vfio"));
}

TEST_F(ReadFileTest, MissingFileIsNotFound) {
  EXPECT_EQ(ErrnoOf(ReadFile(&linux_, path_ + ".not").status()), ENOENT);
}

TEST_F(ReadFileTest, ReadErrorIsReported) {
  slow_.error = EIO;
  EXPECT_EQ(ErrnoOf(ReadFile(&slow_, path_).status()), EIO);
}

}  // namespace
}  // namespace passthru::kernel
