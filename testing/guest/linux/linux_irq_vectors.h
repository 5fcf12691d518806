// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_IRQ_VECTORS_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_IRQ_VECTORS_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/interrupt_table.h"
#include "passthru/testing/guest/linux/msi_allocator.h"

namespace passthru::guest {

// The message interrupts that a driver allocated for its function, MSI-X or
// MSI: what pci_alloc_irq_vectors() leaves behind.
//
// Used by the guest's thread only. Free() before destruction, as a driver must:
// destruction alone unregisters the handlers and leaves the function as it is.
class LinuxIrqVectors {
 public:
  virtual ~LinuxIrqVectors() = default;

  // "MSI-X" or "MSI".
  virtual std::string_view kind() const = 0;
  virtual uint16_t count() const = 0;

  // request_irq(): gives the vector its own message, registers the handler and
  // unmasks.
  virtual absl::Status Request(uint16_t vector, std::string_view name,
                               std::function<void()> handler) = 0;
  // free_irq(): masks and unregisters.
  virtual void Release(uint16_t vector) = 0;

  // disable_irq() and enable_irq(), where vectors can be masked at all.
  virtual void Mask(uint16_t vector) = 0;
  virtual void Unmask(uint16_t vector) = 0;

  // pci_free_irq_vectors(): all vectors released, the capability disabled, the
  // pin enabled again.
  virtual void Free() = 0;

  // The message of a requested vector.
  virtual GuestMessage message(uint16_t vector) const = 0;
};

// What allocation of vectors needs beside the device.
struct IrqContext {
  GuestCpu* cpu;
  MsiAllocator* messages;
  InterruptTable* interrupts;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_IRQ_VECTORS_H_
