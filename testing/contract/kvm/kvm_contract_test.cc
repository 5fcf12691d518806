// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/kvm/kvm_contract.h"

#include <iostream>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/contract/answers.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"

namespace passthru::contract {
namespace {

using ::absl_testing::IsOk;
using ::testing::IsEmpty;

class KvmContractTest : public ::testing::TestWithParam<fake::KernelVersion> {};

TEST_P(KvmContractTest, FakeAnswersAsLinux) {
  fake::FakeKernel kernel({.version = GetParam()});
  const auto expected = LoadAnswers(kAnswersFolder, "kvm", GetParam());
  ASSERT_THAT(expected, IsOk());
  Agreement agreement;
  agreement.Compare("kvm", ObserveKvm(&kernel), *expected);
  std::cout << agreement.Report();
  EXPECT_THAT(agreement.differences(), IsEmpty());
  EXPECT_TRUE(kernel.CheckLeaks().empty()) << kernel.CheckLeaks();
}

INSTANTIATE_TEST_SUITE_P(AllVersions, KvmContractTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

}  // namespace
}  // namespace passthru::contract
