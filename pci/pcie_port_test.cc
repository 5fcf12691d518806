// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/pcie_port.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

// PCIe 6.0 7.5.3.11.
TEST(PcieSlotStatusTest, WriteOneToClearBitsAreTheEvents) {
  const unsigned events = PcieSlotStatus::kLinkStateChanged.Mask() |
                          PcieSlotStatus::kCommandCompleted.Mask() |
                          PcieSlotStatus::kPresenceChanged.Mask() |
                          PcieSlotStatus::kMrlChanged.Mask() |
                          PcieSlotStatus::kPowerFault.Mask() |
                          PcieSlotStatus::kAttentionButton.Mask();
  EXPECT_EQ(PcieSlotStatus::kWriteOneToClear, events);
}

TEST(HotPlugInterruptTest, EachEventHasItsEnableBit) {
  struct {
    uint16_t enable;
    uint16_t event;
  } const kPairs[] = {
      {PcieSlotControl::kAttentionButtonEnable.Mask(),
       PcieSlotStatus::kAttentionButton.Mask()},
      {PcieSlotControl::kPowerFaultEnable.Mask(),
       PcieSlotStatus::kPowerFault.Mask()},
      {PcieSlotControl::kMrlEnable.Mask(), PcieSlotStatus::kMrlChanged.Mask()},
      {PcieSlotControl::kPresenceEnable.Mask(),
       PcieSlotStatus::kPresenceChanged.Mask()},
      {PcieSlotControl::kCommandCompletedEnable.Mask(),
       PcieSlotStatus::kCommandCompleted.Mask()},
      {PcieSlotControl::kLinkStateEnable.Mask(),
       PcieSlotStatus::kLinkStateChanged.Mask()},
  };
  const uint16_t on = PcieSlotControl::kInterruptEnable.Mask();
  for (const auto& enabled : kPairs) {
    for (const auto& happened : kPairs) {
      const PcieSlotStatus status = {.raw = happened.event};
      const uint16_t bits = on | enabled.enable;
      EXPECT_EQ(HotPlugInterrupt({.raw = bits}, status),
                enabled.event == happened.event);
      EXPECT_FALSE(HotPlugInterrupt({.raw = enabled.enable}, status));
    }
  }
}

// Bits that are states or other controls are no events.
TEST(HotPlugInterruptTest, StatesAreNoEvents) {
  const PcieSlotStatus states = {
      .raw = static_cast<uint16_t>(~PcieSlotStatus::kWriteOneToClear)};
  EXPECT_FALSE(HotPlugInterrupt({.raw = 0xffff}, states));
}

TEST(PcieSlotControlTest, IndicatorsAreEncodedFromOnToOff) {
  PcieSlotControl control;
  PcieSlotControl::kPowerIndicator.Set(control, 2);
  EXPECT_EQ(control.raw, 0x0200);
  EXPECT_EQ(control.power_indicator(), PcieIndicator::kBlink);
}

// PCI to PCI Bridge 1.2 3.2.5.18.
TEST(BridgeControlTest, SecondaryBusResetIsBit6) {
  EXPECT_EQ(BridgeControl::kSecondaryBusReset.Mask(), 0x40);
}

}  // namespace
}  // namespace passthru::pci
