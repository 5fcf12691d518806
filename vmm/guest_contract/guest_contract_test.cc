// SPDX-License-Identifier: Apache-2.0
//
// Checks the guest contract on the simulated kernel.
// //vmm/guest_contract:guest_contract_kvm_test and the lab run the same guest
// on real KVM and expect the same observations.
#include "passthru/testing/contract/guest/guest_contract.h"

#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"
#include "passthru/vmm/guest_contract/guest_contract_run.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using ::testing::IsEmpty;

class GuestContractTest : public ::testing::TestWithParam<fake::KernelVersion> {
};

TEST_P(GuestContractTest, GuestSeesWhatItSeesOnLinux) {
  fake::SimulatedHost host({.kernel = {.version = GetParam()}});
  const auto nvme = host.AddFixture("testing/fixtures/nvme.textproto");
  ASSERT_THAT(nvme, IsOk());
  const auto memory = host.AddFixture("testing/fixtures/ivshmem.textproto");
  ASSERT_THAT(memory, IsOk());
  std::vector<contract::Observation> observations;
  EXPECT_THAT(RunGuestContract({.syscalls = &host.kernel(),
                                .simulated_kvm = &host.kernel(),
                                .nvme = *nvme,
                                .memory = *memory},
                               observations),
              IsOk());
  std::cout << "COUNT: " << observations.size()
            << " observations by a guest on the simulated KVM\n";
  EXPECT_THAT(contract::DifferencesFromGuestAnswers(observations), IsEmpty());
  EXPECT_TRUE(host.kernel().CheckLeaks().empty()) << host.kernel().CheckLeaks();
}

INSTANTIATE_TEST_SUITE_P(AllVersions, GuestContractTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

}  // namespace
}  // namespace passthru::vmm
