// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/event_fd_limit.h"

#include <sys/resource.h>

#include <cerrno>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;

class LimitedProcess final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  kernel::SyscallResult<int> Getrlimit(int resource, rlimit* limit) override {
    if (error != 0 || resource != RLIMIT_NOFILE) return {.error = error};
    *limit = {.rlim_cur = soft, .rlim_max = RLIM_INFINITY};
    return {};
  }
  rlim_t soft = 0;
  int error = 0;
};

TEST(EventFdLimitTest, IsWhatTheProcessMayHaveWithoutTheReserve) {
  kernel::LinuxSyscalls linux;
  LimitedProcess process(&linux);
  process.soft = 1024;
  EXPECT_THAT(EventFdLimit(&process, 256), IsOkAndHolds(768u));
  process.soft = 100;
  EXPECT_THAT(EventFdLimit(&process, 256), IsOkAndHolds(0u));
  process.soft = RLIM_INFINITY;
  EXPECT_THAT(EventFdLimit(&process, 256),
              IsOkAndHolds(InterruptBudget::kUnlimited));
}

TEST(EventFdLimitTest, AFailureIsReported) {
  kernel::LinuxSyscalls linux;
  LimitedProcess process(&linux);
  process.error = EPERM;
  EXPECT_EQ(kernel::ErrnoOf(EventFdLimit(&process, 256).status()), EPERM);
}

TEST(EventFdLimitTest, ThisProcessHasOne) {
  kernel::LinuxSyscalls linux;
  EXPECT_THAT(EventFdLimit(&linux, 0), IsOk());
}

}  // namespace
}  // namespace passthru::interrupts
