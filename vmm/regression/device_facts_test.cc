// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/device_facts.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vmm {
namespace {

using ::testing::HasSubstr;
using vfio_pci::CapabilityTreatment;
using vfio_pci::InterruptKind;

TEST(DeviceFactsTest, EverythingIsInOneLine) {
  DeviceFacts facts = {.class_code = 0x010802,
                       .interrupt_pin = 2,
                       .exits = 3102,
                       .kernel_calls = 1741};
  facts.report.bars = {{.bar = {.index = pci::BarIndex(0),
                                .type = pci::BarType::kMemory64,
                                .size = 0x4000,
                                .address = 0x4000000000}},
                       {.bar = {.index = pci::BarIndex(2),
                                .type = pci::BarType::kIo,
                                .size = 32,
                                .address = 0x1000}}};
  facts.report.capabilities = {
      {.name = "MSI-X", .treatment = CapabilityTreatment::kVirtualize},
      {.name = "Power Management", .treatment = CapabilityTreatment::kPass},
      {.name = "PCI Express", .treatment = CapabilityTreatment::kVirtualize},
      {.name = "SR-IOV", .treatment = CapabilityTreatment::kHide}};
  facts.report.vector_groups = {
      {.kind = InterruptKind::kMsi, .device_vectors = 8, .shown_vectors = 4},
      {.kind = InterruptKind::kMsix,
       .device_vectors = 65,
       .shown_vectors = 65}};
  EXPECT_EQ(facts.ToString(),
            "class 010802  INTB    MSI   4  MSI-X   65  exits  3102  calls  "
            "1741  BAR0: 64-bit memory, 16 KiB; BAR2: I/O, 32 bytes | passed: "
            "Power Management | virtualized: MSI-X, PCI Express | hidden: "
            "SR-IOV");
}

TEST(DeviceFactsTest, EqualNamesInARowAreCounted) {
  DeviceFacts facts;
  for (const char* name : {"Vendor Specific", "Vendor Specific", "SATA"}) {
    facts.report.capabilities.push_back(
        {.name = name, .treatment = CapabilityTreatment::kPass});
  }
  EXPECT_THAT(facts.ToString(),
              HasSubstr("passed: Vendor Specific (2), SATA |"));
}

TEST(DeviceFactsTest, WhatIsAbsentIsNamed) {
  const std::string text = DeviceFacts().ToString();
  EXPECT_THAT(text, HasSubstr("  no pin  "));
  EXPECT_THAT(text, HasSubstr("no BARs | passed: none | virtualized: none | "
                              "hidden: none"));
}

}  // namespace
}  // namespace passthru::vmm
