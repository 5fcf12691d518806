// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/host_vector_probe.h"

#include <cerrno>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/fake_interrupts.h"
#include "passthru/devices/kernel/errors.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProbeHostVectorsTest, EnablesAllAndDisables) {
  CallLog log;
  FakeInterruptController controller;
  FakeHostVectors host(&controller, 16, /*dynamic=*/false, &log);
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(16));
  EXPECT_THAT(log, ElementsAre("set 0+16", "set off"));
}

TEST(ProbeHostVectorsTest, FewerAvailableIsTheAnswer) {
  CallLog log;
  FakeInterruptController controller;
  FakeHostVectors host(&controller, 16, /*dynamic=*/false, &log);
  host.LimitVectors(1);
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(1));
  // Nothing was enabled, so the kernel would refuse to disable it.
  EXPECT_THAT(log, ElementsAre("set 0+16"));
}

TEST(ProbeHostVectorsTest, ADynamicHostIsNotAsked) {
  CallLog log;
  FakeInterruptController controller;
  FakeHostVectors host(&controller, 2048, /*dynamic=*/true, &log);
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(2048));
  EXPECT_THAT(log, IsEmpty());
}

TEST(ProbeHostVectorsTest, OneVectorIsNotAskedFor) {
  CallLog log;
  FakeInterruptController controller;
  FakeHostVectors host(&controller, 1, /*dynamic=*/false, &log);
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(1));
  EXPECT_THAT(log, IsEmpty());
}

TEST(ProbeHostVectorsTest, ARefusalIsReported) {
  FakeInterruptController controller;
  FakeHostVectors host(&controller, 16, /*dynamic=*/false);
  host.FailSet(1, ENOSPC);
  EXPECT_EQ(kernel::ErrnoOf(ProbeHostVectors(host).status()), ENOSPC);
}

}  // namespace
}  // namespace passthru::interrupts
