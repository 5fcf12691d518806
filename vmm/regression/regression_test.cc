// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/regression.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr char kEdu[] = "testing/fixtures/edu.textproto";

// Makes every call of that name fail.
void Fail(RegressionOptions& options, const char* call, int error) {
  options.prepare = [call, error](fake::SimulatedHost& host) {
    host.kernel().faults().FailNthOf(call, 1, error,
                                     journal::FaultInjector::Mode::kSticky);
  };
}

TEST(RegressionTest, TwoRunsAreAlike) {
  const auto first = RunRegression({.fixture = kNvme});
  const auto second = RunRegression({.fixture = kNvme});
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(first->problems, IsEmpty());
  EXPECT_EQ(first->transcript, second->transcript);
}

// A section of the transcript, which ends with an empty line.
TEST(RegressionTest, TheDocumentShowsASection) {
  const auto run = RunRegression({.fixture = kNvme});
  ASSERT_THAT(run, IsOk());
  const std::string& text = run->transcript;
  const size_t begin = text.find("\nBAR0 moves\n");
  ASSERT_NE(begin, std::string::npos) << text;
  const size_t end = text.find("\n\n", begin + 1);
  EXPECT_TRUE(fake::PageShows("docs/regression-test.md",
                              text.substr(begin + 1, end - begin)));
}

TEST(RegressionTest, APageHasTheSectionsAndTheTranscriptIsTheSame) {
  const auto plain = RunRegression({.fixture = kNvme});
  Timeline timeline;
  const auto recorded =
      RunRegression({.fixture = kNvme, .timeline = &timeline});
  ASSERT_THAT(plain, IsOk());
  ASSERT_THAT(recorded, IsOk());
  EXPECT_EQ(plain->transcript, recorded->transcript);
  EXPECT_EQ(plain->report.phases_size(), 0);
  const RunReport& report = recorded->report;
  EXPECT_EQ(report.transcript(), plain->transcript);
  ASSERT_EQ(report.devices_size(), 1);
  EXPECT_GT(report.devices(0).vectors_size(), 0);
  EXPECT_TRUE(report.has_teardown());
  const TimelineData data = timeline.Data();
  ASSERT_EQ(data.phases.size(), static_cast<size_t>(report.phases_size()));
  EXPECT_EQ(data.phases.front().name, "Attach");
  EXPECT_EQ(data.phases.back().name, "Detach");
  uint64_t exits = 0;
  for (const Phase& phase : report.phases()) {
    for (const auto& [reason, count] : phase.exits()) exits += count;
  }
  // A section of the transcript that is not measured costs exits as well.
  EXPECT_GE(exits, recorded->facts.exits);
  uint64_t raised = 0;
  for (const Vector& vector : report.devices(0).vectors()) {
    raised += vector.raised();
  }
  EXPECT_GT(raised, 0u);
}

TEST(RegressionTest, KernelsDiffer) {
  const auto now = RunRegression({.fixture = kNvme});
  const auto before =
      RunRegression({.fixture = kNvme, .kernel = fake::KernelVersion::k6_1});
  ASSERT_THAT(now, IsOk());
  ASSERT_THAT(before, IsOk());
  EXPECT_NE(now->transcript, before->transcript);
}

TEST(RegressionTest, NothingOfTheProcessIsInTheTranscript) {
  const auto result = RunRegression({.fixture = kEdu});
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->transcript, Not(HasSubstr("fd=")));
  EXPECT_THAT(result->transcript, Not(HasSubstr("0x7f")));
}

TEST(RegressionTest, LostInterruptIsAProblem) {
  RegressionOptions options = {.fixture = kEdu};
  Fail(options, "KVM_SIGNAL_MSI", EINVAL);
  const auto result = RunRegression(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->problems, Contains(HasSubstr("arrived 0 times")));
  EXPECT_THAT(result->transcript, HasSubstr("PROBLEM: vector 0: arrived 0"));
}

TEST(RegressionTest, BarThatIsNotMappedAnyMoreIsSeen) {
  RegressionOptions options = {.fixture = kEdu};
  options.prepare = [](fake::SimulatedHost& host) {
    host.kernel().faults().FailWhen(
        [](const journal::Call& call) {
          return call.name == "mmap" && call.subject.starts_with("vfio-device");
        },
        ENOMEM);
  };
  const auto result = RunRegression(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->transcript, HasSubstr("trapped  "));
  EXPECT_THAT(result->transcript, HasSubstr("reads 0x5a5a5a01, 2 exits"));
}

TEST(RegressionTest, WhatIsLeftBehindIsAProblem) {
  RegressionOptions options = {.fixture = kEdu};
  Fail(options, "munmap", ENOMEM);
  const auto result = RunRegression(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->problems, Not(IsEmpty()));
}

TEST(RegressionTest, FailedAttachIsAProblemThatNamesTheCall) {
  RegressionOptions options = {.fixture = kEdu};
  Fail(options, "VFIO_GROUP_SET_CONTAINER", EBUSY);
  const auto result = RunRegression(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->problems,
              Contains(HasSubstr("VFIO_GROUP_SET_CONTAINER")));
}

TEST(RegressionTest, BrokenFixtureIsNamed) {
  EXPECT_THAT(RunRegression({.fixture = "testing/fixtures/absent.textproto"}),
              StatusIs(::testing::_, HasSubstr("absent.textproto")));
}

}  // namespace
}  // namespace passthru::vmm
