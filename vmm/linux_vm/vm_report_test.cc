// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/vm_report.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/reporter.h"
#include "passthru/vmm/linux_vm/sample_vm.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";

const Phase& FindPhase(const RunReport& report, const std::string& name) {
  static const Phase kNone;
  for (const Phase& phase : report.phases()) {
    if (phase.name() == name) return phase;
  }
  ADD_FAILURE() << "no phase " << name;
  return kNone;
}

uint64_t CountOf(const google::protobuf::Map<std::string, uint64_t>& counts,
                 const std::string& name) {
  const auto found = counts.find(name);
  return found == counts.end() ? 0 : found->second;
}

class VmReportTest : public ::testing::Test {
 protected:
  static const VmReport& Sample() {
    static const auto* const sample =
        new absl::StatusOr<std::unique_ptr<VmReport>>(RunSampleVm({kNvme}));
    EXPECT_THAT(*sample, IsOk());
    return ***sample;
  }
};

TEST_F(VmReportTest, PhasesHaveTheCallsThatTheyMake) {
  const RunReport& report = Sample().report();
  std::vector<std::string> names;
  for (const Phase& phase : report.phases()) names.push_back(phase.name());
  EXPECT_THAT(names, ElementsAre("create VM", "attach", "run", "give back"));
  EXPECT_EQ(
      CountOf(FindPhase(report, "create VM").kernel_calls(), "KVM_CREATE_VM"),
      1u);
  EXPECT_EQ(CountOf(FindPhase(report, "attach").kernel_calls(),
                    "VFIO_GROUP_GET_DEVICE_FD"),
            1u);
  EXPECT_GT(
      CountOf(FindPhase(report, "run").kernel_calls(), "VFIO_DEVICE_SET_IRQS"),
      0u);
  EXPECT_EQ(CountOf(FindPhase(report, "give back").kernel_calls(), "KVM_RUN"),
            0u);
}

TEST_F(VmReportTest, TheConsoleIsARowOfItsOwn) {
  const Phase& run = FindPhase(Sample().report(), "run");
  EXPECT_EQ(CountOf(run.exits(), "serial console"), 4u);  // "bye\n"
  EXPECT_GT(CountOf(run.exits(), "MMIO write"), 0u);
  EXPECT_THAT(Sample().Html(),
              IsOkAndHolds(Not(HasSubstr("port write of 1 byte at 0x3f8"))));
}

TEST_F(VmReportTest, EachVectorHasTheInterruptsThatTheDeviceRaised) {
  const RunReport& report = Sample().report();
  ASSERT_EQ(report.devices_size(), 1);
  const Passthrough& nvme = report.devices(0);
  EXPECT_EQ(nvme.device().host_bdf(), "0000:02:00.0");
  EXPECT_EQ(nvme.device().fixture(), kNvme);
  EXPECT_THAT(nvme.device().identity(), HasSubstr("NVMe"));
  EXPECT_GT(nvme.capabilities_size(), 0);
  EXPECT_GT(nvme.bars_size(), 0);
  const auto with_interrupts =
      std::count_if(nvme.vectors().begin(), nvme.vectors().end(),
                    [](const Vector& vector) { return vector.raised() > 0; });
  EXPECT_GT(with_interrupts, 0);
}

TEST_F(VmReportTest, ThePageAndTheTraceHaveTheInterrupts) {
  EXPECT_THAT(
      Sample().Html(),
      IsOkAndHolds(AllOf(HasSubstr("<!doctype html>"),
                         HasSubstr("0000:02:00.0 raised MSI-X vector 0"),
                         HasSubstr("\"passthrough_vm\""))));
  EXPECT_THAT(Sample().Trace(), HasSubstr(R"("cat":"interrupt","ph":"i")"));
}

TEST(ReporterTest, AFileThatCannotBeWrittenIsAMistakeAtOnce) {
  EXPECT_THAT(Reporter({.page = "/nowhere/page.html"}).Open(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--report=/nowhere/page.html")));
  EXPECT_THAT(Reporter({.trace = "/nowhere/t"}).Open(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--trace=/nowhere/t")));
  EXPECT_THAT(Reporter({}).Open(), IsOk());
}

TEST(ReporterTest, WithoutAFileTheVmIsAsItWas) {
  Reporter reporter({});
  LinuxVm::Options options;
  reporter.AddTo(options);
  reporter.Begin("attach");
  reporter.End();
  EXPECT_EQ(options.syscalls, nullptr);
  EXPECT_EQ(options.on_handled, nullptr);
  EXPECT_THAT(reporter.Write(), IsOk());
}

TEST_F(VmReportTest, ADeviceThatDoesNotExistIsAFailure) {
  EXPECT_THAT(RunSampleVm({"absent.textproto"}), Not(IsOk()));
}

}  // namespace
}  // namespace passthru::vmm
