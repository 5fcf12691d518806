// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_GUEST_MACHINE_H_
#define PASSTHRU_TESTING_GUEST_GUEST_MACHINE_H_

#include "testing/guest/config_access.h"
#include "testing/guest/guest_layout.h"
#include "testing/guest/guest_ram.h"
#include "testing/guest/interrupt_table.h"
#include "testing/guest/linux_irq_vectors.h"
#include "testing/guest/linux_pci_resources.h"
#include "testing/guest/msi_allocator.h"
#include "testing/guest_cpu.h"

namespace passthru::fake {

// The state of a guest kernel, of which there is one per guest: memory,
// configuration access, windows, interrupt vectors. Drivers are given it.
//
// Used by the guest's thread only. `cpu` must outlive it.
class GuestMachine {
 public:
  GuestMachine(GuestCpu* cpu, const GuestLayout& layout)
      : ram_(cpu, layout.dma_memory),
        config_(cpu, layout),
        resources_(layout),
        messages_(layout.apic_id, layout.first_vector),
        interrupts_(cpu),
        cpu_(cpu) {}

  GuestCpu& cpu() { return *cpu_; }
  GuestRam& ram() { return ram_; }
  ConfigAccess& config() { return config_; }
  PciResources& resources() { return resources_; }
  MsiAllocator& messages() { return messages_; }
  InterruptTable& interrupts() { return interrupts_; }
  IrqContext irq_context() { return {cpu_, &messages_, &interrupts_}; }

 private:
  GuestRam ram_;
  LinuxConfigAccess config_;
  PciResources resources_;
  MsiAllocator messages_;
  InterruptTable interrupts_;
  GuestCpu* const cpu_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_GUEST_GUEST_MACHINE_H_
