// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/vfio/vfio_contract.h"

#include <cstdint>
#include <iostream>
#include <ostream>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/answers.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"

namespace passthru::contract {
namespace {

using ::absl_testing::IsOk;
using ::testing::IsEmpty;

// Devices and their places on the real host, which are part of some answers.
struct Case {
  const char* name;  // Of the fixture and the answers.
  const char* bdf;
  uint32_t group;
};

constexpr Case kCases[] = {
    {"e1000e", "0000:01:00.0", 6},
    {"nvme", "0000:02:00.0", 7},
    {"edu", "0000:00:10.0", 3},
};

void PrintTo(const Case& asked, std::ostream* out) { *out << asked.name; }

std::string FixtureOf(const std::string& name) {
  return "testing/fixtures/" + name + ".textproto";
}

// Compares the fake's answers with the stored ones.
void Check(fake::KernelVersion version, std::string_view subject,
           const std::vector<Observation>& answers) {
  const auto expected = LoadAnswers(kAnswersFolder, subject, version);
  ASSERT_THAT(expected, IsOk());
  Agreement agreement;
  agreement.Compare(subject, answers, *expected);
  std::cout << "The simulated Linux " << version << "\n" << agreement.Report();
  EXPECT_THAT(agreement.differences(), IsEmpty());
}

class VfioContractTest
    : public ::testing::TestWithParam<std::tuple<fake::KernelVersion, Case>> {};

TEST_P(VfioContractTest, FakeAnswersAsLinux) {
  const auto& [version, asked] = GetParam();
  fake::SimulatedHost::Options options;
  options.kernel.version = version;
  // Some questions do what only a faulty user of VFIO does.
  options.enforce_invariants = false;
  options.vfio.iommu.iova_ranges = {{0, 0xfedfffff},
                                    {0xfef00000, 0xffffffffffff}};
  fake::SimulatedHost host(options);
  ASSERT_THAT(host.AddFixture(
                  FixtureOf(asked.name),
                  {.bdf = *pci::Bdf::Parse(asked.bdf), .group = asked.group}),
              IsOk());
  host.kernel().StartDeviceThread();
  Check(version, asked.name,
        ObserveVfio(&host.kernel(), asked.bdf, asked.group));
  EXPECT_TRUE(host.kernel().CheckLeaks().empty()) << host.kernel().CheckLeaks();
}

class GroupContractTest : public ::testing::TestWithParam<fake::KernelVersion> {
};

TEST_P(GroupContractTest, FakeAnswersAsLinux) {
  constexpr uint32_t kGroup = 4;
  const pci::Bdf nvme(0, 0, 0x14, 0);
  const pci::Bdf edu(0, 0, 0x14, 1);
  fake::SimulatedHost host(
      {.kernel = {.version = GetParam()}, .enforce_invariants = false});
  ASSERT_THAT(host.AddFixture(FixtureOf("nvme"),
                              {.bdf = nvme, .group = kGroup, .driver = "nvme"}),
              IsOk());
  ASSERT_THAT(host.AddFixture(FixtureOf("edu"), {.bdf = edu, .group = kGroup}),
              IsOk());
  Check(GetParam(), "group",
        ObserveGroup(
            &host.kernel(), edu.ToString(), nvme.ToString(), kGroup,
            [&] { ASSERT_THAT(host.vfio().SetDriver(nvme, ""), IsOk()); }));
  EXPECT_TRUE(host.kernel().CheckLeaks().empty()) << host.kernel().CheckLeaks();
}

INSTANTIATE_TEST_SUITE_P(AllVersions, GroupContractTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

INSTANTIATE_TEST_SUITE_P(
    AllVersions, VfioContractTest,
    ::testing::Combine(::testing::ValuesIn(fake::kAllKernelVersions),
                       ::testing::ValuesIn(kCases)),
    [](const auto& suite) {
      return fake::TestName(std::get<0>(suite.param)) + "_" +
             std::get<1>(suite.param).name;
    });

}  // namespace
}  // namespace passthru::contract
