// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/host_vector_probe.h"

#include <cerrno>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::interrupts {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ProbeHostVectorsTest, EnablesAllAndDisables) {
  fake::CallLog log;
  fake::InterruptRig host({.vectors = 16, .dynamic = false, .log = &log});
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(16));
  EXPECT_THAT(log, ElementsAre("set 0+16", "set off"));
}

TEST(ProbeHostVectorsTest, FewerAvailableIsTheAnswer) {
  fake::CallLog log;
  fake::InterruptRig host({.vectors = 16, .dynamic = false, .log = &log});
  host.LimitVectors(1);
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(1));
  // Nothing was enabled, so the kernel would refuse to disable it.
  EXPECT_THAT(log, ElementsAre("set 0+16"));
}

TEST(ProbeHostVectorsTest, ADynamicHostIsNotAsked) {
  fake::CallLog log;
  fake::InterruptRig host({.vectors = 2048, .dynamic = true, .log = &log});
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(2048));
  EXPECT_THAT(log, IsEmpty());
}

TEST(ProbeHostVectorsTest, OneVectorIsNotAskedFor) {
  fake::CallLog log;
  fake::InterruptRig host({.vectors = 1, .dynamic = false, .log = &log});
  EXPECT_THAT(ProbeHostVectors(host), IsOkAndHolds(1));
  EXPECT_THAT(log, IsEmpty());
}

TEST(ProbeHostVectorsTest, ARefusalIsReported) {
  fake::InterruptRig host({.vectors = 16, .dynamic = false});
  host.FailSet(1, ENOSPC);
  EXPECT_EQ(kernel::ErrnoOf(ProbeHostVectors(host).status()), ENOSPC);
}

}  // namespace
}  // namespace passthru::interrupts
