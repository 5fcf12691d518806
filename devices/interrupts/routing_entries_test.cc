// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/routing_entries.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace passthru::interrupts {
namespace {

TEST(DefaultIrqchipRoutesTest, AreTheKernels) {
  std::map<uint32_t, std::set<std::pair<uint32_t, uint32_t>>> pins;
  for (const kvm_irq_routing_entry& entry : DefaultIrqchipRoutes()) {
    EXPECT_EQ(entry.type, uint32_t{KVM_IRQ_ROUTING_IRQCHIP});
    EXPECT_EQ(entry.flags, 0u);
    pins[entry.gsi].insert({entry.u.irqchip.irqchip, entry.u.irqchip.pin});
  }
  ASSERT_EQ(pins.size(), 24u);
  using Pins = std::set<std::pair<uint32_t, uint32_t>>;
  EXPECT_EQ(pins[0],
            (Pins{{KVM_IRQCHIP_PIC_MASTER, 0}, {KVM_IRQCHIP_IOAPIC, 0}}));
  EXPECT_EQ(pins[7],
            (Pins{{KVM_IRQCHIP_PIC_MASTER, 7}, {KVM_IRQCHIP_IOAPIC, 7}}));
  EXPECT_EQ(pins[8],
            (Pins{{KVM_IRQCHIP_PIC_SLAVE, 0}, {KVM_IRQCHIP_IOAPIC, 8}}));
  EXPECT_EQ(pins[15],
            (Pins{{KVM_IRQCHIP_PIC_SLAVE, 7}, {KVM_IRQCHIP_IOAPIC, 15}}));
  EXPECT_EQ(pins[16], (Pins{{KVM_IRQCHIP_IOAPIC, 16}}));
  EXPECT_EQ(pins[23], (Pins{{KVM_IRQCHIP_IOAPIC, 23}}));
}

TEST(MsiRoutingEntryTest, SplitsTheAddress) {
  const kvm_irq_routing_entry entry = MsiRoutingEntry(
      allocator::Gsi(30), {.address = 0x7700fee0300c, .data = 0x41});
  EXPECT_EQ(entry.gsi, 30u);
  EXPECT_EQ(entry.type, uint32_t{KVM_IRQ_ROUTING_MSI});
  EXPECT_EQ(entry.flags, 0u);
  EXPECT_EQ(entry.u.msi.address_lo, 0xfee0300cu);
  EXPECT_EQ(entry.u.msi.address_hi, 0x7700u);
  EXPECT_EQ(entry.u.msi.data, 0x41u);
}

}  // namespace
}  // namespace passthru::interrupts
