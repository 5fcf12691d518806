// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_ROUTING_ENTRIES_H_
#define PASSTHRU_DEVICES_INTERRUPTS_ROUTING_ENTRIES_H_

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "passthru/allocator/gsi.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// GSIs below this are pins of the PIC and the IOAPIC on x86.
inline constexpr allocator::Gsi kFirstMsiGsi{24};

// Returns the table that KVM_CREATE_IRQCHIP installs (arch/x86/kvm/irq_comm.c,
// default_routing). It routes GSIs 0 to 15 to the PICs and the IOAPIC, and 16
// to 23 to the IOAPIC. KVM_SET_GSI_ROUTING replaces the whole table, so its
// callers must include these entries.
std::vector<kvm_irq_routing_entry> DefaultIrqchipRoutes();

// Returns the address of `message` as KVM expects it. A guest that was told of
// KVM_FEATURE_MSI_EXT_DEST_ID puts bits 14:8 of the destination into bits 11:5
// of the address. KVM's interface has bits 31:8 of the destination in bits
// 63:40 (KVM_X2APIC_API_USE_32BIT_IDS), and ignores them unless the VMM has
// enabled that. An address of the remappable format (bit 4), or with upper bits
// of its own, stays as it is.
uint64_t KvmMsiAddress(const pci::MsiMessage& message);

// Returns an entry of type KVM_IRQ_ROUTING_MSI.
kvm_irq_routing_entry MsiRoutingEntry(allocator::Gsi gsi,
                                      const pci::MsiMessage& message);

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_ROUTING_ENTRIES_H_
