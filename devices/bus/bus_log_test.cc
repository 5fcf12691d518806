// SPDX-License-Identifier: Apache-2.0

// Tests what a Bus logs. This is a separate program because the rate limits
// count from the program's first message.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::bus {
namespace {

using ::testing::_;

class BrokenDevice final : public BusDevice {
 public:
  std::string_view name() const override { return "0000:00:04.0 BAR 0"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t>) override {
    return absl::InternalError("pread: Input/output error");
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::InternalError("pwrite: Input/output error");
  }
};

TEST(BusLogTest, NamesDeviceAddressAndReasonAtALimitedRate) {
  Bus bus("mmio");
  ASSERT_TRUE(
      bus.Add(0xfeb00000, 0x1000, std::make_shared<BrokenDevice>(), 0).ok());
  std::vector<std::string> messages;
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _, _))
      .WillRepeatedly([&messages](absl::LogSeverity, const std::string&,
                                  const std::string& message) {
        messages.push_back(message);
      });
  log.StartCapturingLogs();
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 1000; ++i) {
    uint8_t data[4];
    bus.Read(0xfeb00010, absl::MakeSpan(data));
  }
  const int64_t seconds = absl::ToInt64Seconds(absl::Now() - begin);
  log.StopCapturingLogs();
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages.front(),
            "mmio: read of 4 bytes at 0xfeb00010 (0000:00:04.0 BAR 0 +0x10): "
            "INTERNAL: pread: Input/output error");
  EXPECT_LE(messages.size(), static_cast<size_t>(2 + seconds));
  EXPECT_EQ(bus.stats().failures, 1000u);
}

TEST(BusLogTest, NamesAddressOfAMissAtALimitedRate) {
  Bus bus("pio");
  std::vector<std::string> messages;
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kInfo, _, _))
      .WillRepeatedly([&messages](absl::LogSeverity, const std::string&,
                                  const std::string& message) {
        messages.push_back(message);
      });
  log.StartCapturingLogs();
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 1000; ++i) {
    const uint8_t data[1] = {0};
    bus.Write(0x80, data);
  }
  const int64_t seconds = absl::ToInt64Seconds(absl::Now() - begin);
  log.StopCapturingLogs();
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages.front(), "pio: write of 1 bytes at 0x80: nothing there");
  EXPECT_LE(messages.size(), static_cast<size_t>(2 + seconds));
  EXPECT_EQ(bus.stats().misses, 1000u);
}

}  // namespace
}  // namespace passthru::bus
