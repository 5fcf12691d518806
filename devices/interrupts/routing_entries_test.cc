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

// Destination 0x1234: bits 7:0 are in bits 19:12, bits 14:8 in bits 11:5.
TEST(MsiRoutingEntryTest, MovesAnExtendedDestinationToTheUpperHalf) {
  const kvm_irq_routing_entry entry = MsiRoutingEntry(
      allocator::Gsi(30), {.address = 0xfee34240, .data = 0x41});
  EXPECT_EQ(entry.u.msi.address_lo, 0xfee34000u);
  EXPECT_EQ(entry.u.msi.address_hi, 0x1200u);
}

TEST(KvmMsiAddressTest, LeavesOtherAddressesAsTheyAre) {
  EXPECT_EQ(KvmMsiAddress({.address = 0xfee0300c}), 0xfee0300cu);
  EXPECT_EQ(KvmMsiAddress({.address = 0xfee34250}), 0xfee34250u)
      << "remappable format";
  EXPECT_EQ(KvmMsiAddress({.address = 0x1200fee34240}), 0x1200fee34240u)
      << "has upper bits already";
  EXPECT_EQ(KvmMsiAddress({.address = 0xfeefffec}), 0x7f00fee0000c | 0xff000u)
      << "the largest";
}

}  // namespace
}  // namespace passthru::interrupts
