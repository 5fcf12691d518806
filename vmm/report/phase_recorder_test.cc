// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/phase_recorder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(PhaseRecorderTest, EachPhaseHasWhatHappenedInIt) {
  kernel::LinuxSyscalls kernel;
  journal::CallRecorder calls(&kernel);
  ExitCounts exits;
  RunReport report;
  PhaseRecorder phases(
      &calls, /*timeline=*/nullptr, [&exits] { return ByReason(exits); },
      &report);
  calls.Readlink("/no/such/link");  // before the first phase
  exits.io_reads = 7;
  phases.Begin("attach");
  calls.Readlink("/no/such/link");
  calls.Readlink("/no/such/link");
  phases.Begin("run");
  exits.io_reads = 9;
  exits.mmio_writes = 4;
  phases.End();
  ASSERT_EQ(report.phases_size(), 2);
  EXPECT_EQ(report.phases(0).name(), "attach");
  EXPECT_THAT(report.phases(0).kernel_calls(),
              UnorderedElementsAre(Pair("readlink", 2)));
  EXPECT_THAT(report.phases(0).exits(), IsEmpty());
  EXPECT_EQ(report.phases(1).name(), "run");
  EXPECT_THAT(report.phases(1).kernel_calls(), IsEmpty());
  EXPECT_THAT(
      report.phases(1).exits(),
      UnorderedElementsAre(Pair("port read", 2), Pair("MMIO write", 4)));
}

}  // namespace
}  // namespace passthru::vmm
