// SPDX-License-Identifier: Apache-2.0
#include "testing/vfio/vfio_contract.h"

#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gtest/gtest.h"
#include "pci/bdf.h"
#include "testing/kernel_version.h"
#include "testing/simulated_host.h"
#include "testing/vfio/fixture.h"

namespace passthru::fake {
namespace {

using ::absl_testing::IsOk;

struct Case {
  ObservedDevice device;
  const char* fixture;
  const char* bdf;  // Where it was when it was asked.
  uint32_t group;
};

constexpr Case kCases[] = {
    {ObservedDevice::kE1000e, "e1000e", "0000:01:00.0", 6},
    {ObservedDevice::kNvme, "nvme", "0000:02:00.0", 7},
    {ObservedDevice::kEdu, "edu", "0000:00:10.0", 3},
};

void PrintTo(const Case& asked, std::ostream* out) { *out << asked.fixture; }

std::vector<std::string> Lines(const std::vector<VfioObservation>& all) {
  std::vector<std::string> lines;
  for (const VfioObservation& one : all) lines.push_back(one.ToString());
  return lines;
}

class VfioContractTest
    : public ::testing::TestWithParam<std::tuple<KernelVersion, Case>> {};

TEST_P(VfioContractTest, FakeAnswersAsLinux) {
  const auto& [version, asked] = GetParam();
  SimulatedHost::Options options;
  options.kernel.version = version;
  options.vfio.iommu.iova_ranges = {{0, 0xfedfffff},
                                    {0xfef00000, 0xffffffffffff}};
  SimulatedHost host(options);
  const auto fixture = LoadFixture(std::string("testing/fixtures/") +
                                   asked.fixture + ".textproto");
  ASSERT_THAT(fixture, IsOk());
  ASSERT_THAT(
      host.vfio().AddDevice(
          *fixture, {.bdf = *pci::Bdf::Parse(asked.bdf), .group = asked.group}),
      IsOk());

  const std::vector<std::string> answers =
      Lines(ObserveVfio(&host.kernel(), asked.bdf, asked.group));
  const std::vector<std::string> expected =
      Lines(VfioTranscript(version, asked.device));
  ASSERT_EQ(answers.size(), expected.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i], expected[i]) << "question " << i;
  }
  EXPECT_TRUE(host.kernel().CheckLeaks().empty()) << host.kernel().CheckLeaks();
}

INSTANTIATE_TEST_SUITE_P(
    AllVersions, VfioContractTest,
    ::testing::Combine(::testing::ValuesIn(kAllKernelVersions),
                       ::testing::ValuesIn(kCases)),
    [](const auto& suite) {
      std::string name = "Linux";
      for (const char c : Name(std::get<0>(suite.param))) {
        name += c == '.' ? '_' : c;
      }
      return name + "_" + std::get<1>(suite.param).fixture;
    });

}  // namespace
}  // namespace passthru::fake
