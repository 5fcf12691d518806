// SPDX-License-Identifier: Apache-2.0
//
// Checks the guest contract on this machine's own KVM with the simulated
// devices, so that loads, stores, exits and interrupts are real. The test skips
// itself on a machine without /dev/kvm, and Bazel does not cache its result.
#include <fcntl.h>

#include <cstring>
#include <iostream>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/guest_contract/guest_contract_run.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using ::testing::IsEmpty;

TEST(GuestContractKvmTest, GuestSeesWhatTheSimulatedOneSees) {
  fake::SimulatedHost host({.kernel = {.passthrough_kvm = true}});
  const auto opened = host.kernel().Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    GTEST_SKIP() << "SKIPPED: no usable /dev/kvm on this machine ("
                 << std::strerror(opened.error)
                 << "), so that no real guest was compared";
  }
  host.kernel().Close(opened.value);
  const auto nvme = host.AddFixture("testing/fixtures/nvme.textproto");
  ASSERT_THAT(nvme, IsOk());
  const auto memory = host.AddFixture("testing/fixtures/ivshmem.textproto");
  ASSERT_THAT(memory, IsOk());
  host.kernel().StartDeviceThread();
  std::vector<contract::Observation> observations;
  EXPECT_THAT(
      RunGuestContract(
          {.syscalls = &host.kernel(), .nvme = *nvme, .memory = *memory},
          observations),
      IsOk());
  std::cout << "COUNT: " << observations.size()
            << " observations by a guest on this machine's KVM\n";
  EXPECT_THAT(contract::DifferencesFromGuestAnswers(observations), IsEmpty());
  EXPECT_TRUE(host.kernel().CheckLeaks().empty()) << host.kernel().CheckLeaks();
}

}  // namespace
}  // namespace passthru::vmm
