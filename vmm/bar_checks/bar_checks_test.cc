// SPDX-License-Identifier: Apache-2.0
//
// Runs the checks on the simulated kernel. The lab runs them on real ones.
#include "passthru/vmm/bar_checks/bar_checks.h"

#include <memory>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"
#include "passthru/testing/models/edu_model.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

class BarChecksTest : public ::testing::TestWithParam<fake::KernelVersion> {
 protected:
  BarChecksTest() : simulated_({.kernel = {.version = GetParam()}}) {
    host_ = {.syscalls = &simulated_.kernel(),
             .simulated_kvm = &simulated_.kernel()};
  }
  pci::Bdf Add(const char* fixture, uint64_t dma_mask = 0) {
    fake::DeviceOptions options;
    if (dma_mask != 0) {
      options.model = std::make_unique<models::EduModel>(dma_mask);
    }
    const auto bdf = simulated_.AddFixture(fixture, std::move(options));
    CHECK_OK(bdf);
    return *bdf;
  }

  fake::SimulatedHost simulated_;
  BarChecksHost host_;
};

TEST_P(BarChecksTest, PeersReachOneAnotherIfTheyMay) {
  const pci::Bdf edu = Add("testing/fixtures/edu.textproto", 0xffff'ffff'ffff);
  const pci::Bdf peer = Add("testing/fixtures/ivshmem.textproto");
  EXPECT_THAT(CheckPeerDma(host_, edu, peer, false), IsOk());
  EXPECT_EQ(simulated_.vfio().DmaFaults().size(), 2u);
  EXPECT_THAT(CheckPeerDma(host_, edu, peer, true), IsOk());
  EXPECT_EQ(simulated_.vfio().DmaFaults().size(), 2u) << "no more";
}

// A device that cuts addresses to 28 bits does not find the BAR.
TEST_P(BarChecksTest, AnEduOfFewAddressBitsFails) {
  const pci::Bdf edu = Add("testing/fixtures/edu.textproto", 0xfff'ffff);
  const pci::Bdf peer = Add("testing/fixtures/ivshmem.textproto");
  EXPECT_THAT(CheckPeerDma(host_, edu, peer, true),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("peer's BAR")));
}

TEST_P(BarChecksTest, ASmallBarIsMapped) {
  EXPECT_THAT(CheckSmallBar(host_, Add("testing/fixtures/pvpanic.textproto")),
              IsOk());
  EXPECT_THAT(CheckSmallBar(host_, Add("testing/fixtures/edu.textproto")),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

INSTANTIATE_TEST_SUITE_P(AllVersions, BarChecksTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

}  // namespace
}  // namespace passthru::vmm
