// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_MEMORY_SLOT_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_MEMORY_SLOT_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"

namespace passthru::allocator {

// One memory slot number, which its destructor gives back. It may outlive its
// allocator. Move-only, thread-compatible.
class MemorySlotAllocation {
 public:
  // Owns nothing.
  MemorySlotAllocation() = default;

  // Meaningless if empty().
  MemorySlot slot() const { return MemorySlot(id_.value()); }
  bool empty() const { return id_.empty(); }
  void Release() { id_.Release(); }

 private:
  friend class MemorySlotAllocator;
  explicit MemorySlotAllocation(IdAllocation id) : id_(std::move(id)) {}

  IdAllocation id_;
};

// Hands out the free memory slots of one VM, the lowest first. A VMM that
// manages slots itself creates the allocator above them. KVM_CAP_NR_MEMSLOTS is
// the end of the usable range.
//
// Thread-safe.
class MemorySlotAllocator {
 public:
  // Creates an allocator for the slots [first, first + count).
  static absl::StatusOr<std::unique_ptr<MemorySlotAllocator>> Create(
      uint32_t count, MemorySlot first = MemorySlot(0));

  // Returns kResourceExhausted if all are taken.
  absl::StatusOr<MemorySlotAllocation> Allocate();

  uint32_t available() const { return ids_->available(); }
  uint32_t capacity() const { return ids_->capacity(); }

 private:
  explicit MemorySlotAllocator(std::unique_ptr<IdAllocator> ids)
      : ids_(std::move(ids)) {}

  const std::unique_ptr<IdAllocator> ids_;
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_MEMORY_SLOT_ALLOCATOR_H_
