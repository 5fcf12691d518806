// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/device_register.h"

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::benchmark {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DeviceRegisterTest : public ::testing::Test {
 protected:
  std::string Add(const std::string& fixture,
                  fake::DeviceOptions options = {}) {
    const auto bdf = host_.AddFixture(
        "testing/fixtures/" + fixture + ".textproto", std::move(options));
    CHECK_OK(bdf);
    return bdf->ToString();
  }
  absl::Status Open(const DeviceRegister& where) {
    return OpenDevice(&host_.kernel(), where).status();
  }

  fake::SimulatedHost host_;
};

TEST_F(DeviceRegisterTest, MemoryOfAnOpenedDeviceAnswers) {
  const auto device =
      OpenDevice(&host_.kernel(), {.device = Add("edu"), .offset = 4});
  ASSERT_THAT(device, IsOk());
  std::array<uint8_t, DeviceRegister::kWidth> bytes = {1, 2, 3, 4};
  EXPECT_THAT((*device)->WriteRegion(0, 4, bytes), IsOk());
  EXPECT_THAT((*device)->ReadRegion(0, 4, absl::MakeSpan(bytes)), IsOk());
  EXPECT_EQ(bytes[0], 0xfe) << "edu inverts what its liveness register gets";
}

TEST_F(DeviceRegisterTest, AWrongDeviceIsAnErrorThatNamesIt) {
  EXPECT_THAT(Open({.device = "nonsense"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"nonsense\" is not the address")));
  EXPECT_THAT(Open({.device = "0000:99:00.0"}),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("there is no PCI device 0000:99:00.0")));
  EXPECT_THAT(Open({.device = Add("edu", {.driver = "nvme"})}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is bound to the driver nvme")));
}

TEST_F(DeviceRegisterTest, AWrongBarIsAnErrorThatNamesIt) {
  const std::string card = Add("e1000e");
  const auto is_mistake = [&](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(HasSubstr(text), HasSubstr(card)));
  };
  EXPECT_THAT(Open({.device = card, .bar = 6}), is_mistake("no BAR 6"));
  EXPECT_THAT(Open({.device = card, .bar = 5}), is_mistake("no BAR 5"));
  EXPECT_THAT(Open({.device = card, .bar = 2}), is_mistake("has I/O ports"));
}

TEST_F(DeviceRegisterTest, AWrongOffsetIsAnErrorThatNamesIt) {
  const std::string edu = Add("edu");  // has a BAR of 1 MiB
  for (const uint64_t offset :
       {uint64_t{2}, uint64_t{0x10'0000}, ~uint64_t{3}}) {
    EXPECT_THAT(
        Open({.device = edu, .offset = offset}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("BAR 0 of " + edu), HasSubstr("0x100000"))));
  }
  EXPECT_THAT(Open({.device = edu, .offset = 0xf'fffc}), IsOk());
}

}  // namespace
}  // namespace passthru::benchmark
