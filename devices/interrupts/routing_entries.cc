// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/routing_entries.h"

#include <cstdint>
#include <vector>

namespace passthru::interrupts {
namespace {

constexpr uint32_t kPinsPerPic = 8;
constexpr uint32_t kPicPins = 2 * kPinsPerPic;
constexpr uint32_t kIoapicPins = 24;  // KVM_IOAPIC_NUM_PINS

kvm_irq_routing_entry IrqchipEntry(uint32_t gsi, uint32_t irqchip,
                                   uint32_t pin) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = irqchip;
  entry.u.irqchip.pin = pin;
  return entry;
}

}  // namespace

std::vector<kvm_irq_routing_entry> DefaultIrqchipRoutes() {
  std::vector<kvm_irq_routing_entry> entries;
  entries.reserve(kIoapicPins + kPicPins);
  for (uint32_t gsi = 0; gsi < kIoapicPins; ++gsi) {
    entries.push_back(IrqchipEntry(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    if (gsi >= kPicPins) continue;
    const uint32_t pic =
        gsi < kPinsPerPic ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
    entries.push_back(IrqchipEntry(gsi, pic, gsi % kPinsPerPic));
  }
  return entries;
}

kvm_irq_routing_entry MsiRoutingEntry(allocator::Gsi gsi,
                                      const pci::MsiMessage& message) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = gsi.value();
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.u.msi.address_lo = static_cast<uint32_t>(message.address);
  entry.u.msi.address_hi = static_cast<uint32_t>(message.address >> 32);
  entry.u.msi.data = message.data;
  return entry;
}

}  // namespace passthru::interrupts
