// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_ROUTING_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_ROUTING_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"

namespace passthru::fake {

// Which interrupt controllers of a VM are in the kernel.
enum class IrqchipMode {
  kNone,
  kSplit,   // KVM_CAP_SPLIT_IRQCHIP: the local APICs.
  kKernel,  // KVM_CREATE_IRQCHIP: PIC and IOAPIC too.
};

// The GSI routing table of one VM, with the rules of kvm_set_irq_routing() in
// virt/kvm/irqchip.c and kvm_set_routing_entry() in arch/x86/kvm.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmRouting {
 public:
  // kvm_setup_default_irq_routing(): GSI 0..15 to IOAPIC and PIC, 16..23 to the
  // IOAPIC.
  void SetDefault();

  // KVM_SET_GSI_ROUTING: all of `entries` or, with an errno, none. `x2apic` is
  // KVM_X2APIC_API_USE_32BIT_IDS.
  int Set(IrqchipMode mode, bool x2apic,
          absl::Span<const kvm_irq_routing_entry> entries);

  // kvm_irq_map_gsi().
  absl::Span<const kvm_irq_routing_entry> Of(uint32_t gsi) const;

  // In GSI order.
  std::vector<kvm_irq_routing_entry> All() const;

  // kvm_msi_route_invalid(), also for KVM_SIGNAL_MSI.
  static bool MsiAddressIsInvalid(bool x2apic, uint32_t address_hi) {
    return x2apic && (address_hi & 0xff) != 0;
  }

 private:
  using Table = std::map<uint32_t, std::vector<kvm_irq_routing_entry>>;
  Table table_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_ROUTING_H_
