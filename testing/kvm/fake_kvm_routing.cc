// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_routing.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"

namespace passthru::fake {
namespace {

constexpr uint32_t kPicPins = 8;

kvm_irq_routing_entry IrqchipEntry(uint32_t gsi, uint32_t irqchip,
                                   uint32_t pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = irqchip;
  entry.u.irqchip.pin = pin;
  return entry;
}

// Checks an entry like kvm_set_routing_entry(). The fake has no Hyper-V and Xen
// routes, and so refuses their types as unknown.
bool EntryIsValid(IrqchipMode mode, bool x2apic,
                  const kvm_irq_routing_entry& entry) {
  if (entry.gsi >= kKvmMaxIrqRoutes) return false;
  switch (entry.type) {
    case KVM_IRQ_ROUTING_MSI:
      return (entry.flags & ~uint32_t{KVM_MSI_VALID_DEVID}) == 0 &&
             !FakeKvmRouting::MsiAddressIsInvalid(x2apic,
                                                  entry.u.msi.address_hi);
    case KVM_IRQ_ROUTING_IRQCHIP:
      if (entry.flags != 0 || mode == IrqchipMode::kSplit) return false;
      switch (entry.u.irqchip.irqchip) {
        case KVM_IRQCHIP_PIC_MASTER:
        case KVM_IRQCHIP_PIC_SLAVE:
          return entry.u.irqchip.pin < kPicPins;
        case KVM_IRQCHIP_IOAPIC:
          return entry.u.irqchip.pin < KVM_IOAPIC_NUM_PINS;
        default:
          return false;
      }
    default:
      return false;
  }
}

// Returns whether two routes may share a GSI, like setup_routing_entry().
bool MayShareGsi(const kvm_irq_routing_entry& a,
                 const kvm_irq_routing_entry& b) {
  return a.type == KVM_IRQ_ROUTING_IRQCHIP &&
         b.type == KVM_IRQ_ROUTING_IRQCHIP &&
         a.u.irqchip.irqchip != b.u.irqchip.irqchip;
}

}  // namespace

void FakeKvmRouting::SetDefault() {
  table_.clear();
  for (uint32_t gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; ++gsi) {
    table_[gsi].push_back(IrqchipEntry(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    if (gsi < 2 * kPicPins) {
      table_[gsi].push_back(IrqchipEntry(
          gsi, gsi < kPicPins ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
          gsi % kPicPins));
    }
  }
}

int FakeKvmRouting::Set(IrqchipMode mode, bool x2apic,
                        absl::Span<const kvm_irq_routing_entry> entries) {
  if (mode == IrqchipMode::kNone) return EINVAL;
  if (entries.size() > kKvmMaxIrqRoutes) return EINVAL;
  Table table;
  for (const kvm_irq_routing_entry& entry : entries) {
    if (!EntryIsValid(mode, x2apic, entry)) return EINVAL;
    std::vector<kvm_irq_routing_entry>& same_gsi = table[entry.gsi];
    if (!std::all_of(same_gsi.begin(), same_gsi.end(),
                     [&entry](const kvm_irq_routing_entry& other) {
                       return MayShareGsi(entry, other);
                     })) {
      return EINVAL;
    }
    same_gsi.push_back(entry);
  }
  table_ = std::move(table);
  return 0;
}

absl::Span<const kvm_irq_routing_entry> FakeKvmRouting::Of(uint32_t gsi) const {
  const auto found = table_.find(gsi);
  if (found == table_.end()) return {};
  return found->second;
}

std::vector<kvm_irq_routing_entry> FakeKvmRouting::All() const {
  std::vector<kvm_irq_routing_entry> all;
  for (const auto& [gsi, entries] : table_) {
    all.insert(all.end(), entries.begin(), entries.end());
  }
  return all;
}

}  // namespace passthru::fake
