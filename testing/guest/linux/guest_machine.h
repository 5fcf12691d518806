// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_GUEST_MACHINE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_GUEST_MACHINE_H_

#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/guest_ram.h"
#include "passthru/testing/guest/linux/interrupt_table.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_resources.h"
#include "passthru/testing/guest/linux/msi_allocator.h"

namespace passthru::guest {

// The state of a guest kernel, of which there is one per guest. It holds
// memory, configuration access, windows and interrupt vectors, and drivers
// receive it.
//
// Only the guest's thread may use it. `cpu` must outlive it.
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

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_GUEST_MACHINE_H_
