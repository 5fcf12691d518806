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

// The message interrupts (MSI-X or MSI) that a driver allocated for its
// function with pci_alloc_irq_vectors().
//
// Only the guest's thread may use it. The caller must call Free() before
// destruction, as a driver must. Destruction alone unregisters the handlers and
// leaves the function as it is.
class LinuxIrqVectors {
 public:
  virtual ~LinuxIrqVectors() = default;

  // Returns "MSI-X" or "MSI".
  virtual std::string_view kind() const = 0;
  virtual uint16_t count() const = 0;

  // Gives the vector its own message, registers the handler and unmasks, like
  // request_irq().
  virtual absl::Status Request(uint16_t vector, std::string_view name,
                               std::function<void()> handler) = 0;
  // Masks the vector and unregisters its handler, like free_irq().
  virtual void Release(uint16_t vector) = 0;

  // Mask and unmask a vector, like disable_irq() and enable_irq(). They have no
  // effect if the function cannot mask vectors.
  virtual void Mask(uint16_t vector) = 0;
  virtual void Unmask(uint16_t vector) = 0;

  // Releases all vectors, disables the capability and enables the pin again,
  // like pci_free_irq_vectors().
  virtual void Free() = 0;

  // Returns the message of a requested vector.
  virtual GuestMessage message(uint16_t vector) const = 0;
};

// What the allocation of vectors needs besides the device.
struct IrqContext {
  GuestCpu* cpu;
  MsiAllocator* messages;
  InterruptTable* interrupts;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_IRQ_VECTORS_H_
