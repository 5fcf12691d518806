// SPDX-License-Identifier: Apache-2.0
//
// Runs the demo on captured devices. That covers the whole path from a fixture
// to a guest that has used the device and released it.

#include "passthru/vmm/demo/demo.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"
#include "passthru/vmm/demo/demo_text.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr char kEdu[] = "testing/fixtures/edu.textproto";

const Phase& FindPhase(const RunReport& report, std::string_view name) {
  for (const Phase& phase : report.phases()) {
    if (phase.name() == name) return phase;
  }
  ADD_FAILURE() << "no phase '" << name << "'";
  return Phase::default_instance();
}

std::string StepResult(const RunReport& report, const std::string& title,
                       int device = 0) {
  for (const Step& step : report.devices(device).steps()) {
    if (step.title() == title) return step.result();
  }
  return "";
}

int CountOf(std::string_view text, std::string_view what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

class DemoOnEveryKernelTest
    : public ::testing::TestWithParam<fake::KernelVersion> {};

TEST_P(DemoOnEveryKernelTest, NvmeWritesReadsAndLeavesNothing) {
  const auto report = RunDemo({.fixtures = {kNvme}, .kernel = GetParam()});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(StepResult(*report, "compare"),
            "512 blocks as written, 0 different");
  EXPECT_THAT(StepResult(*report, "interrupts"),
              HasSubstr(", 0 unexpected in the guest"));
  EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
}

TEST_P(DemoOnEveryKernelTest, EduComputesCopiesAndLeavesNothing) {
  const auto report = RunDemo({.fixtures = {kEdu}, .kernel = GetParam()});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(StepResult(*report, "compute"),
            "12! = 479001600, reported by interrupt");
  EXPECT_THAT(StepResult(*report, "interrupts"),
              HasSubstr(", 0 unexpected in the guest"));
  EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Kernels, DemoOnEveryKernelTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

// Once the route of every vector is committed, an interrupt, a doorbell and a
// transfer cost neither an exit nor a kernel call. A move of the BAR does not
// change that.
TEST(DemoTest, SteadyStateCostsNothing) {
  const auto report = RunDemo({.fixtures = {kNvme}});
  ASSERT_THAT(report, IsOk());
  const Phase& again = FindPhase(*report, "work again");
  EXPECT_THAT(again.exits(), IsEmpty());
  EXPECT_THAT(again.kernel_calls(), IsEmpty());
  for (const Vector& vector : report->devices(0).vectors()) {
    if (vector.taken() != 0) {
      EXPECT_EQ(vector.state(), "Active") << vector.index();
    }
  }
}

TEST(DemoTest, MovingABarCostsOneSlotEachWay) {
  const auto report = RunDemo({.fixtures = {kNvme}});
  ASSERT_THAT(report, IsOk());
  const auto& calls = FindPhase(*report, "move BARs").kernel_calls();
  EXPECT_EQ(calls.at("KVM_SET_USER_MEMORY_REGION"), 2u);
  EXPECT_EQ(calls.count("mmap") + calls.count("munmap"), 0u);
}

TEST(DemoTest, TableAndPendingBitsAreTrappedTheRestIsMapped) {
  const auto report = RunDemo({.fixtures = {kNvme}});
  ASSERT_THAT(report, IsOk());
  ASSERT_THAT(report->devices(0).bars(), SizeIs(1));
  const Bar& bar = report->devices(0).bars(0);
  ASSERT_THAT(bar.areas(), SizeIs(3));
  EXPECT_TRUE(bar.areas(0).mapped());
  EXPECT_EQ(bar.areas(0).size(), 0x2000u);
  EXPECT_FALSE(bar.areas(1).mapped());
  EXPECT_THAT(bar.areas(1).reason(), HasSubstr("MSI-X table"));
  EXPECT_FALSE(bar.areas(2).mapped());
  EXPECT_THAT(bar.areas(2).reason(), HasSubstr("pending"));
}

// Devices that none of the guest's drivers knows pass through too. The guest
// enumerates, places and moves them, and enables their interrupts.
TEST(DemoTest, EveryFixturePassesThrough) {
  int fixtures = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("testing/fixtures")) {
    if (entry.path().extension() != ".textproto") continue;
    SCOPED_TRACE(entry.path().string());
    const auto report = RunDemo({.fixtures = {entry.path().string()}});
    EXPECT_THAT(report, IsOk());
    if (!report.ok()) continue;
    EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
    EXPECT_THAT(StepResult(*report, "interrupts"),
                HasSubstr(", 0 unexpected in the guest"));
    ++fixtures;
  }
  EXPECT_GE(fixtures, 2);
}

// Writes a copy of the captured NVMe controller, without a model and with other
// changes, and returns its path.
std::string NvmeWithoutModel(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& changes = {}) {
  std::ifstream file(kNvme);
  std::stringstream text;
  text << file.rdbuf();
  std::string edited =
      absl::StrReplaceAll(text.str(), {{"model: \"nvme\"", ""}});
  EXPECT_NE(edited, text.str());
  edited = absl::StrReplaceAll(edited, changes);
  std::string path =
      absl::StrCat(::testing::TempDir(), "/", name, ".textproto");
  std::ofstream(path) << edited;
  return path;
}

// A capture does not tell the behaviour, but the class does.
TEST(DemoTest, NvmeControllerWithoutAModelGetsThatOfItsClass) {
  const auto report = RunDemo({.fixtures = {NvmeWithoutModel("classy")}});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(StepResult(*report, "compare"),
            "512 blocks as written, 0 different");
}

// The model has its registers where this controller has its MSI-X table.
TEST(DemoTest, NvmeControllerThatTheModelDoesNotFitIsNotDriven) {
  const auto report =
      RunDemo({.fixtures = {NvmeWithoutModel(
                   "table_in_registers",
                   {{"11 80 40 00 00 20 00 00", "11 80 40 00 00 10 00 00"}})}});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(StepResult(*report, "not driven"), HasSubstr("MSI-X table"));
  EXPECT_THAT(StepResult(*report, "bring up"), HasSubstr("4 MSI-X vectors"));
  EXPECT_THAT(StepResult(*report, "move a BAR"), HasSubstr("BAR0 from"));
  EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
}

TEST(DemoTest, DeviceOfAWideDomain) {
  const auto report =
      RunDemo({.fixtures = {NvmeWithoutModel(
                   "vmd", {{"\"0000:02:00.0\"", "\"10000:e1:00.0\""}})}});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->devices(0).device().host_bdf(), "10000:e1:00.0");
  EXPECT_EQ(StepResult(*report, "compare"),
            "512 blocks as written, 0 different");
}

// Both devices are in use at the same time, and take turns with DMA and
// interrupts.
TEST(DemoTest, DevicesOfSeveralGroupsShareTheContainer) {
  std::ostringstream journal;
  const auto report = RunDemo({.fixtures = {kNvme, kEdu}, .journal = &journal});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(StepResult(*report, "compare", 0),
            "512 blocks as written, 0 different");
  EXPECT_EQ(StepResult(*report, "compute", 1),
            "12! = 479001600, reported by interrupt");
  EXPECT_EQ(CountOf(journal.str(), "open(/dev/vfio/vfio,"), 1);
  EXPECT_EQ(CountOf(journal.str(), "open(/dev/vfio/1,"), 1);
  EXPECT_EQ(CountOf(journal.str(), "open(/dev/vfio/2,"), 1);
  EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
}

TEST(DemoTest, GroupOfSeveralDevicesIsOpenedOnce) {
  std::ostringstream journal;
  const auto report = RunDemo(
      {.fixtures = {kNvme, kEdu}, .one_group = true, .journal = &journal});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(StepResult(*report, "compare", 0),
            "512 blocks as written, 0 different");
  EXPECT_EQ(StepResult(*report, "compute", 1),
            "12! = 479001600, reported by interrupt");
  EXPECT_EQ(CountOf(journal.str(), "open(/dev/vfio/1,"), 1);
  EXPECT_EQ(CountOf(journal.str(), "VFIO_GROUP_GET_DEVICE_FD"), 2);
  EXPECT_THAT(report->teardown().leftovers(), IsEmpty());
}

TEST(DemoTest, TwoOfOneKind) {
  const auto report = RunDemo({.fixtures = {kNvme, kNvme}});
  ASSERT_THAT(report, IsOk());
  for (const int device : {0, 1}) {
    EXPECT_EQ(StepResult(*report, "compare", device),
              "512 blocks as written, 0 different");
  }
}

// Returns how many events of this kind the timeline has, of this name unless it
// is empty.
int64_t EventsOf(const TimelineData& timeline, TimelineKind kind,
                 std::string_view name = "") {
  return std::count_if(timeline.events.begin(), timeline.events.end(),
                       [kind, name](const TimelineEvent& event) {
                         return event.kind == kind &&
                                (name.empty() || event.name == name);
                       });
}

// Returns the sum over all phases.
int64_t CallsOf(const RunReport& report, const std::string& name) {
  uint64_t sum = 0;
  for (const Phase& phase : report.phases()) {
    const auto found = phase.kernel_calls().find(name);
    if (found != phase.kernel_calls().end()) sum += found->second;
  }
  return static_cast<int64_t>(sum);
}

TEST(DemoTest, TimelineHasWhatTheReportCounts) {
  Timeline timeline;
  const auto report = RunDemo({.fixtures = {kNvme}, .timeline = &timeline});
  ASSERT_THAT(report, IsOk());
  const TimelineData data = timeline.Data();
  uint64_t exits = 0;
  for (const Phase& phase : report->phases()) {
    for (const auto& [reason, count] : phase.exits()) exits += count;
  }
  EXPECT_EQ(EventsOf(data, TimelineKind::kExit) -
                EventsOf(data, TimelineKind::kExit, "shutdown") -
                EventsOf(data, TimelineKind::kExit, "interrupted"),
            static_cast<int64_t>(exits));
  for (const Vector& vector : report->devices(0).vectors()) {
    if (vector.taken() == 0) continue;
    const std::string message = absl::StrFormat(
        "took 0x%x data 0x%x", vector.message_address(), vector.message_data());
    const auto taken = std::count_if(data.events.begin(), data.events.end(),
                                     [&message](const TimelineEvent& event) {
                                       return event.detail == message;
                                     });
    EXPECT_EQ(taken, static_cast<int64_t>(vector.taken())) << message;
  }
  EXPECT_GT(EventsOf(data, TimelineKind::kInterrupt), 0);
  for (const char* const call :
       {"KVM_SET_GSI_ROUTING", "KVM_IRQFD", "VFIO_DEVICE_SET_IRQS",
        "VFIO_GROUP_GET_DEVICE_FD"}) {
    EXPECT_EQ(EventsOf(data, TimelineKind::kCall, call), CallsOf(*report, call))
        << call;
  }
  ASSERT_EQ(data.phases.size(), static_cast<size_t>(report->phases_size()));
  for (int i = 0; i < report->phases_size(); ++i) {
    EXPECT_EQ(data.phases[static_cast<size_t>(i)].name,
              report->phases(i).name());
  }
  // The guest works without exits, and the timeline shows its doorbells.
  EXPECT_GT(EventsOf(data, TimelineKind::kAccess, "store"), 0);
}

TEST(DemoTest, BrokenFixtureIsNamed) {
  EXPECT_THAT(RunDemo({.fixtures = {"testing/fixtures/absent.textproto"}}),
              StatusIs(::testing::_, HasSubstr("absent.textproto")));
}

TEST(DemoTextTest, FitsTheWidthAndNamesWhatMatters) {
  const auto report = RunDemo({.fixtures = {kNvme}});
  ASSERT_THAT(report, IsOk());
  const std::string text = RenderText(*report);
  EXPECT_THAT(text, HasSubstr("NVMe controller"));
  EXPECT_THAT(text, HasSubstr("MSI-X"));
  EXPECT_THAT(text, HasSubstr("Left behind\n  nothing"));
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_FALSE(absl::EndsWith(line, " ")) << line;
  }
}

}  // namespace
}  // namespace passthru::vmm
