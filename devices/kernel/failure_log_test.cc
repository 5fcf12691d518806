// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/failure_log.h"

#include <cstddef>
#include <string>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::kernel {
namespace {

using ::testing::_;
using ::testing::Between;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(FailureLogTest, KeepsWhatAndWhy) {
  FailureLog log("0000:01:00.0");
  EXPECT_THAT(log.Recent(), IsEmpty());
  log.Add("BAR 0 is trapped", absl::InternalError("mmap: ENOMEM"));
  EXPECT_THAT(log.Recent(),
              ElementsAre("0000:01:00.0: BAR 0 is trapped: mmap: ENOMEM"));
  EXPECT_EQ(log.count(), 1u);
}

TEST(FailureLogTest, KeepsTheLatestAndCountsAll) {
  FailureLog log("device");
  for (size_t i = 0; i <= FailureLog::kKept; ++i) {
    log.Add(absl::StrCat("access ", i), absl::InternalError("EIO"));
  }
  EXPECT_EQ(log.count(), FailureLog::kKept + 1);
  ASSERT_EQ(log.Recent().size(), FailureLog::kKept);
  EXPECT_EQ(log.Recent().front(), "device: access 1: EIO");
  EXPECT_EQ(log.Recent().back(),
            absl::StrCat("device: access ", FailureLog::kKept, ": EIO"));
}

// The log allows one line per second. The test accepts more than one line
// because the loop may take longer than a second on a busy machine.
TEST(FailureLogTest, AFloodIsFewLines) {
  absl::ScopedMockLog lines(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(lines, Log(absl::LogSeverity::kWarning, _,
                         StartsWith("device: flood: EIO")))
      .Times(Between(1, 10));
  FailureLog log("device");
  lines.StartCapturingLogs();
  for (int i = 0; i < 1000; ++i) log.Add("flood", absl::InternalError("EIO"));
}

}  // namespace
}  // namespace passthru::kernel
