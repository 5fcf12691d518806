// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_GSI_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_GSI_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/id_allocator.h"

namespace passthru::allocator {

// One GSI, which its destructor gives back. It may outlive its allocator.
// Move-only, thread-compatible.
class GsiAllocation {
 public:
  // Owns nothing.
  GsiAllocation() = default;

  // Meaningless if empty().
  Gsi gsi() const { return Gsi(id_.value()); }
  bool empty() const { return id_.empty(); }
  void Release() { id_.Release(); }

 private:
  friend class GsiAllocator;
  explicit GsiAllocation(IdAllocation id) : id_(std::move(id)) {}

  IdAllocation id_;
};

// Hands out the GSIs of one VM that are available for MSI routes. These are the
// ones above the pins of the PIC and the IOAPIC and below KVM_CAP_IRQ_ROUTING.
// The lowest free GSI comes first, because KVM sizes its routing table by the
// highest GSI in use (kvm_set_irq_routing() in virt/kvm/irqchip.c).
//
// Thread-safe.
class GsiAllocator {
 public:
  // Creates an allocator for the GSIs [first, first + count).
  static absl::StatusOr<std::unique_ptr<GsiAllocator>> Create(Gsi first,
                                                              uint32_t count);

  // Returns kResourceExhausted if all are taken.
  absl::StatusOr<GsiAllocation> Allocate();

  uint32_t available() const { return ids_->available(); }
  uint32_t capacity() const { return ids_->capacity(); }

 private:
  explicit GsiAllocator(std::unique_ptr<IdAllocator> ids)
      : ids_(std::move(ids)) {}

  const std::unique_ptr<IdAllocator> ids_;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_GSI_ALLOCATOR_H_
