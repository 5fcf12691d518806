// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/shared_lines.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LoggingLineController final : public LineController {
 public:
  absl::Status SetLine(allocator::Gsi gsi, bool asserted) override {
    calls.push_back(absl::StrCat(gsi.value(), asserted ? " up" : " down"));
    return answer;
  }

  std::vector<std::string> calls;
  absl::Status answer;
};

class SharedLinesTest : public ::testing::Test {
 protected:
  LoggingLineController controller_;
  SharedLines lines_{&controller_};
};

TEST_F(SharedLinesTest, APinIsUpWhileAnyDeviceAssertsIt) {
  const auto first = lines_.Connect(allocator::Gsi(16));
  const auto second = lines_.Connect(allocator::Gsi(16));
  EXPECT_THAT(first->Set(true), IsOk());
  EXPECT_THAT(second->Set(true), IsOk());
  EXPECT_THAT(first->Set(false), IsOk());
  EXPECT_THAT(controller_.calls, ElementsAre("16 up"));
  EXPECT_THAT(second->Set(false), IsOk());
  EXPECT_THAT(controller_.calls, ElementsAre("16 up", "16 down"));
}

TEST_F(SharedLinesTest, PinsAreApart) {
  const auto first = lines_.Connect(allocator::Gsi(16));
  const auto second = lines_.Connect(allocator::Gsi(17));
  EXPECT_THAT(first->Set(true), IsOk());
  EXPECT_THAT(second->Set(true), IsOk());
  EXPECT_THAT(controller_.calls, ElementsAre("16 up", "17 up"));
}

TEST_F(SharedLinesTest, TheSameLevelAgainIsNoCall) {
  const auto line = lines_.Connect(allocator::Gsi(16));
  EXPECT_THAT(line->Set(false), IsOk());
  EXPECT_THAT(controller_.calls, IsEmpty());
  EXPECT_THAT(line->Set(true), IsOk());
  EXPECT_THAT(line->Set(true), IsOk());
  EXPECT_THAT(controller_.calls, ElementsAre("16 up"));
}

TEST_F(SharedLinesTest, ADeviceThatGoesLetsItsLineGo) {
  auto line = lines_.Connect(allocator::Gsi(18));
  EXPECT_THAT(line->Set(true), IsOk());
  line.reset();
  EXPECT_THAT(controller_.calls, ElementsAre("18 up", "18 down"));
}

TEST_F(SharedLinesTest, AFailureIsTheCallers) {
  const auto line = lines_.Connect(allocator::Gsi(18));
  controller_.answer = absl::InternalError("KVM_IRQ_LINE");
  EXPECT_THAT(line->Set(true), StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace passthru::interrupts
