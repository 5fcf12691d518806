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

// The interrupt controllers of a VM that are in the kernel.
enum class IrqchipMode {
  kNone,
  kSplit,   // KVM_CAP_SPLIT_IRQCHIP: local APICs only.
  kKernel,  // KVM_CREATE_IRQCHIP: also PIC and IOAPIC.
};

// The GSI routing table of one VM, with the rules of kvm_set_irq_routing() in
// virt/kvm/irqchip.c and kvm_set_routing_entry() in arch/x86/kvm.
class FakeKvmRouting {
 public:
  // Routes GSI 0 to 15 to IOAPIC and PIC, and 16 to 23 to the IOAPIC, like
  // kvm_setup_default_irq_routing().
  void SetDefault();

  // Carries out KVM_SET_GSI_ROUTING. It sets all of `entries` and returns 0, or
  // returns an errno and changes nothing. `x2apic` tells whether the VM has
  // KVM_X2APIC_API_USE_32BIT_IDS.
  int Set(IrqchipMode mode, bool x2apic,
          absl::Span<const kvm_irq_routing_entry> entries);

  // Returns the routes of `gsi`, like kvm_irq_map_gsi().
  absl::Span<const kvm_irq_routing_entry> Of(uint32_t gsi) const;

  // Returns all routes in GSI order.
  std::vector<kvm_irq_routing_entry> All() const;

  // Returns whether KVM refuses the address of an MSI route or of
  // KVM_SIGNAL_MSI, like kvm_msi_route_invalid().
  static bool MsiAddressIsInvalid(bool x2apic, uint32_t address_hi) {
    return x2apic && (address_hi & 0xff) != 0;
  }

 private:
  using Table = std::map<uint32_t, std::vector<kvm_irq_routing_entry>>;
  Table table_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_ROUTING_H_
