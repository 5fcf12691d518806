// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/routing_entries.h"

#include <cstdint>
#include <vector>

namespace passthru::interrupts {
namespace {

constexpr uint32_t kPinsPerPic = 8;
constexpr uint32_t kPicPins = 2 * kPinsPerPic;
constexpr uint32_t kIoapicPins = 24;  // KVM_IOAPIC_NUM_PINS

// The address of an MSI on x86.
constexpr uint64_t kRemappableFormat = 1 << 4;
constexpr uint64_t kExtendedDestination = 0xfe0;
constexpr int kExtendedDestinationShift = 40 - 5;

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

uint64_t KvmMsiAddress(const pci::MsiMessage& message) {
  const uint64_t address = message.address;
  if (address >> 32 != 0 || (address & kRemappableFormat) != 0) return address;
  const uint64_t extension = address & kExtendedDestination;
  return (address & ~extension) | extension << kExtendedDestinationShift;
}

kvm_irq_routing_entry MsiRoutingEntry(allocator::Gsi gsi,
                                      const pci::MsiMessage& message) {
  kvm_irq_routing_entry entry = {};
  entry.gsi = gsi.value();
  entry.type = KVM_IRQ_ROUTING_MSI;
  const uint64_t address = KvmMsiAddress(message);
  entry.u.msi.address_lo = static_cast<uint32_t>(address);
  entry.u.msi.address_hi = static_cast<uint32_t>(address >> 32);
  entry.u.msi.data = message.data;
  return entry;
}

}  // namespace passthru::interrupts
