// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/device_section.h"

#include <vector>

#include "gtest/gtest.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {
namespace {

constexpr pci::Bdf kGuest(0, 0, 1, 0);

TEST(DeviceSectionTest, AttachGivesAddressesGroupAndCapabilities) {
  const Passthrough passthrough = ReportAttached(
      {.host = pci::Bdf(0, 1, 0, 0),
       .guest = kGuest,
       .iommu_group = 7,
       .report = {.lines = {"an NVMe controller", "more"},
                  .capabilities = {{.offset = 0x40, .name = "MSI-X"}}}});
  EXPECT_EQ(passthrough.device().host_bdf(), "0000:01:00.0");
  EXPECT_EQ(passthrough.device().guest_bdf(), "0000:00:01.0");
  EXPECT_EQ(passthrough.device().iommu_group(), 7u);
  EXPECT_EQ(passthrough.device().identity(), "an NVMe controller");
  ASSERT_EQ(passthrough.capabilities_size(), 1);
  EXPECT_EQ(passthrough.capabilities(0).offset(), 0x40u);
  EXPECT_EQ(passthrough.capabilities(0).treatment(), "passed");
}

TEST(DeviceSectionTest, StateSaysWhatIsDegradedAndWhy) {
  vfio_pci::DeviceReport report;
  report.degraded = {{.kind = vfio_pci::DegradationKind::kTrapped,
                      .what = "BAR0+0x0",
                      .why = "there is no slot left"}};
  report.failures = {"KVM_SET_USER_MEMORY_REGION: ENOSPC"};
  report.config.reads_from_shadow = 5;
  Passthrough passthrough;
  AddState(report, passthrough);
  EXPECT_EQ(passthrough.device().config_reads_from_shadow(), 5u);
  ASSERT_EQ(passthrough.degraded_size(), 1);
  EXPECT_EQ(
      passthrough.degraded(0),
      "BAR0+0x0 is trapped instead of mapped, because there is no slot left");
  ASSERT_EQ(passthrough.failures_size(), 1);
}

TEST(DeviceSectionTest, VectorsThatDeliverCountMoreThanOthers) {
  using interrupts::VectorState;
  const auto report = [](const std::vector<VectorState>& states) {
    vfio_pci::VectorGroupReport group;
    for (const VectorState state : states) {
      group.vectors.push_back({.state = state});
    }
    return vfio_pci::DeviceReport{.vector_groups = {group}};
  };
  const auto off = VectorActivity(report({VectorState::kOff}));
  const auto masked =
      VectorActivity(report({VectorState::kMasked, VectorState::kMasked}));
  const auto active =
      VectorActivity(report({VectorState::kOff, VectorState::kActive}));
  EXPECT_LT(off, masked);
  EXPECT_LT(masked, active);
}

TEST(DeviceSectionTest, ActivityCountsTheInterruptsOfEachVector) {
  Passthrough passthrough;
  passthrough.add_vectors()->set_index(0);
  passthrough.add_vectors()->set_index(3);
  vfio_pci::DeviceReport report;
  report.interrupt = vfio_pci::InterruptKind::kMsix;
  report.vector_groups = {{.kind = vfio_pci::InterruptKind::kMsix,
                           .device_vectors = 8,
                           .shown_vectors = 4}};
  AddActivity(report, {{3, 7}, {5, 1}}, passthrough);
  EXPECT_EQ(passthrough.vectors(0).raised(), 0u);
  EXPECT_EQ(passthrough.vectors(1).raised(), 7u);
  EXPECT_EQ(passthrough.steps(0).result(),
            "MSI-X, 8 interrupts raised, 4 of 8 vectors shown");
}

}  // namespace
}  // namespace passthru::vmm
