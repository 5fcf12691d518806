// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/device_report.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vfio_pci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const DeviceReport& report) {
  return absl::StrJoin(ToLines(report), "\n");
}

TEST(DeviceReportTest, HiddenCapabilitiesSayWhy) {
  DeviceReport report;
  report.capabilities.push_back({.extended = true,
                                 .id = 0x10,
                                 .offset = 0x160,
                                 .name = "SR-IOV",
                                 .treatment = CapabilityTreatment::kHide,
                                 .reason = "virtual functions are the host's"});
  EXPECT_THAT(Text(report),
              HasSubstr("hidden       160: SR-IOV  (virtual functions are the "
                        "host's)"));
}

TEST(DeviceReportTest, AreasSayWhetherAndWhy) {
  DeviceReport report;
  BarReport bar = {.bar = {.index = pci::BarIndex(0),
                           .type = pci::BarType::kMemory32,
                           .size = 0x3000,
                           .address = 0xe0000000},
                   .placed = true};
  bar.areas = {{.area = {0, 0x1000, BarAreaKind::kMapped}, .in_guest = true},
               {.area = {0x1000, 0x1000, BarAreaKind::kMapped},
                .refused = "overlaps ram"},
               {.area = {0x2000, 0x1000, BarAreaKind::kMsixTable}}};
  report.bars.push_back(bar);
  bar.areas = {
      {.area = {0, 0x100, BarAreaKind::kMapped}, .shares_page = "not alone"}};
  report.bars.push_back(bar);
  EXPECT_THAT(Text(report),
              AllOf(HasSubstr("mapped   the guest reaches it without an exit"),
                    HasSubstr("trapped  no slot: overlaps ram"),
                    HasSubstr("trapped  pages of the MSI-X table"),
                    HasSubstr("trapped  not alone")));
  AddDegradations(report);
  EXPECT_EQ(report.degraded.size(), 1u) << "the slot that was refused";
}

TEST(DeviceReportTest, VectorsInUseAreListedTheOthersCounted) {
  DeviceReport report;
  VectorGroupReport group = {.device_vectors = 8,
                             .shown_vectors = 4,
                             .limited_by = "the VM's limit of eventfds"};
  group.vectors.resize(4);
  group.vectors[1] = {.vector = pci::VectorIndex(1),
                      .state = interrupts::VectorState::kActive,
                      .masked = false,
                      .message = {.address = 0xfee01000, .data = 0x41},
                      .gsi = allocator::Gsi(24)};
  report.vector_groups.push_back(group);
  EXPECT_THAT(Text(report),
              AllOf(HasSubstr("4 of the device's 8 vectors shown, limited by "
                              "the VM's limit of eventfds"),
                    HasSubstr("vector    1  Active   GSI   24"),
                    HasSubstr("3 not in use"), Not(HasSubstr("vector    0"))));
}

TEST(InterruptKindTest, HaveTheNamesOfTheField) {
  EXPECT_EQ(Name(InterruptKind::kMsix), "MSI-X");
  EXPECT_EQ(Name(InterruptKind::kIntx), "INTx");
}

}  // namespace
}  // namespace passthru::vfio_pci
