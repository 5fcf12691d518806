// SPDX-License-Identifier: Apache-2.0
#include "testing/kvm_contract.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "testing/fake_kernel.h"
#include "testing/kernel_version.h"

namespace passthru::fake {
namespace {

std::vector<std::string> Lines(const std::vector<KvmObservation>& all) {
  std::vector<std::string> lines;
  lines.reserve(all.size());
  for (const KvmObservation& one : all) lines.push_back(one.ToString());
  return lines;
}

class KvmContractTest : public ::testing::TestWithParam<KernelVersion> {};

TEST_P(KvmContractTest, FakeAnswersAsLinux) {
  FakeKernel kernel({.version = GetParam()});
  EXPECT_THAT(Lines(ObserveKvm(&kernel)),
              ::testing::ElementsAreArray(Lines(KvmTranscript(GetParam()))));
  EXPECT_TRUE(kernel.CheckLeaks().empty()) << kernel.CheckLeaks();
}

INSTANTIATE_TEST_SUITE_P(AllVersions, KvmContractTest,
                         ::testing::ValuesIn(kAllKernelVersions),
                         [](const auto& suite) {
                           std::string name = "Linux";
                           for (const char c : Name(suite.param)) {
                             name += c == '.' ? '_' : c;
                           }
                           return name;
                         });

}  // namespace
}  // namespace passthru::fake
