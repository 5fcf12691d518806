// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/program/program.h"

#include <cerrno>
#include <cstdlib>
#include <string>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "google/protobuf/wrappers.pb.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"

ABSL_FLAG(std::string, thing, "", "Is given several times.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_thing>);
ABSL_FLAG(std::string, other, "", "Has values of its own.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_other>);

namespace passthru::program {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RepeatedFlagTest, KeepsAllValuesInTheirOrder) {
  EXPECT_THAT(Values<FLAGS_thing>(), IsEmpty());
  absl::SetFlag(&FLAGS_thing, "b");
  absl::SetFlag(&FLAGS_thing, "");
  absl::SetFlag(&FLAGS_other, "c");
  absl::SetFlag(&FLAGS_thing, "a");
  EXPECT_THAT(Values<FLAGS_thing>(), ElementsAre("b", "a"));
  EXPECT_THAT(Values<FLAGS_other>(), ElementsAre("c"));
}

TEST(FinishTest, OnlyAMistakeOfTheUserHasTheStatusOfOne) {
  const auto finish = [](const absl::StatusOr<int>& status) {
    return Finish("program", status);
  };
  EXPECT_EQ(Finish("program", absl::OkStatus()), 0);
  EXPECT_EQ(finish(3), 3);
  EXPECT_EQ(finish(absl::InvalidArgumentError("--size=x is no size")), 2);
  EXPECT_EQ(finish(absl::NotFoundError("there is no x")), 1);
  EXPECT_EQ(finish(kernel::ErrnoError(EINVAL, "KVM_RUN")), 1);
}

TEST(FinishTest, TellsTheUserInOneLine) {
  testing::internal::CaptureStderr();
  Finish("capture", absl::InvalidArgumentError("give one device"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "capture: give one device\n");
}

TEST(UserPathTest, StartsWhereTheUserTypedTheCommand) {
  ASSERT_EQ(::unsetenv("BUILD_WORKING_DIRECTORY"), 0);
  EXPECT_EQ(UserPath("a.textproto"), "a.textproto");
  ASSERT_EQ(::setenv("BUILD_WORKING_DIRECTORY", "/home/user", 1), 0);
  EXPECT_EQ(UserPath("a.textproto"), "/home/user/a.textproto");
  EXPECT_EQ(UserPath("/tmp/a.textproto"), "/tmp/a.textproto");
  ASSERT_EQ(::unsetenv("BUILD_WORKING_DIRECTORY"), 0);
}

TEST(JsonTest, HasFieldsThatAreZero) {
  const auto json = Json(google::protobuf::StringValue());
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, "\"\"");
}

}  // namespace
}  // namespace passthru::program
