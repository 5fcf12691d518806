// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/locked_memory.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {
namespace {

using kernel::SyscallResult;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A procfs of two files, each of which can be read once per open.
class Procfs : public kernel::ForwardingSyscalls {
 public:
  Procfs() : ForwardingSyscalls(&linux_) {}

  SyscallResult<int> Open(const char* path, int) override {
    if (!files.contains(path)) return {.error = ENOENT};
    unread_ = files[path];
    return {.value = 1000};
  }
  SyscallResult<int> Close(int) override { return {}; }
  SyscallResult<size_t> Read(int, void* buffer, size_t count) override {
    const std::string part = unread_.substr(0, count);
    std::memcpy(buffer, part.data(), part.size());
    unread_.erase(0, part.size());
    return {.value = part.size()};
  }

  std::map<std::string, std::string> files;

 private:
  kernel::LinuxSyscalls linux_;
  std::string unread_;
};

TEST(ReadLockedMemoryTest, LimitAndUse) {
  Procfs procfs;
  procfs.files["/proc/self/limits"] =
      "Limit                     Soft Limit           Hard Limit           "
      "Units     \n"
      "Max processes             62785                62785                "
      "processes \n"
      "Max locked memory         8388608              16777216             "
      "bytes     \n";
  procfs.files["/proc/self/status"] =
      "Name:\tvmm\nVmPeak:\t    9000 kB\nVmLck:\t    4096 kB\nVmPin:\t0 kB\n";
  const LockedMemory memory = ReadLockedMemory(&procfs);
  EXPECT_EQ(memory.limit, 8388608u);
  EXPECT_EQ(memory.locked, 4194304u);
}

TEST(ReadLockedMemoryTest, Unlimited) {
  Procfs procfs;
  procfs.files["/proc/self/limits"] =
      "Max locked memory         unlimited            unlimited            "
      "bytes     \n";
  EXPECT_EQ(ReadLockedMemory(&procfs).limit,
            std::numeric_limits<uint64_t>::max());
}

TEST(ReadLockedMemoryTest, WithoutProcfsNothingIsKnown) {
  Procfs procfs;
  const LockedMemory memory = ReadLockedMemory(&procfs);
  EXPECT_EQ(memory.limit, std::nullopt);
  EXPECT_EQ(memory.locked, std::nullopt);
}

TEST(ReadLockedMemoryTest, NonsenseIsNotBelieved) {
  Procfs procfs;
  procfs.files["/proc/self/limits"] = "Max locked memory\n";
  procfs.files["/proc/self/status"] = "VmLck:\tmuch\n";
  const LockedMemory memory = ReadLockedMemory(&procfs);
  EXPECT_EQ(memory.limit, std::nullopt);
  EXPECT_EQ(memory.locked, std::nullopt);
}

TEST(ReadLockedMemoryTest, ThisProcess) {
  kernel::LinuxSyscalls linux;
  const LockedMemory memory = ReadLockedMemory(&linux);
  EXPECT_TRUE(memory.limit.has_value());
  EXPECT_TRUE(memory.locked.has_value());
}

TEST(DescribeLockedMemoryTest, LimitAgainstNeed) {
  EXPECT_THAT(
      DescribeLockedMemory({.limit = 8 << 20, .locked = 4 << 20}, 512 << 20),
      AllOf(HasSubstr("pinning 524288 KiB"), HasSubstr("limit"),
            HasSubstr("of 8192 KiB, of which 4096 KiB are used"),
            HasSubstr("at least 528384 KiB"), HasSubstr("ulimit -l"),
            HasSubstr("LimitMEMLOCK=")));
}

TEST(DescribeLockedMemoryTest, UnknownLimitStillSaysTheNeed) {
  EXPECT_THAT(DescribeLockedMemory({}, 512 << 20),
              AllOf(HasSubstr("at least 524288 KiB"), Not(HasSubstr("used"))));
}

TEST(DescribeLockedMemoryTest, UnlimitedMeansTheHostIsFull) {
  EXPECT_THAT(
      DescribeLockedMemory({.limit = std::numeric_limits<uint64_t>::max()},
                           512 << 20),
      AllOf(HasSubstr("host has no memory left"), Not(HasSubstr("ulimit"))));
}

}  // namespace
}  // namespace passthru::vfio
