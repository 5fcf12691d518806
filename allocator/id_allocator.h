// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_
#define PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/memory/memory.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/id_pool.h"

namespace passthru::allocator {

// One id from an IdAllocator, which its destructor gives back. It shares the
// allocator's state, so it may outlive the allocator. Move-only,
// thread-compatible.
template <typename Id>
class ABSL_MUST_USE_RESULT IdAllocation {
 public:
  // Owns nothing.
  IdAllocation() = default;
  IdAllocation(IdAllocation&& other) noexcept
      : pool_(std::move(other.pool_)), id_(std::exchange(other.id_, Id())) {}
  IdAllocation& operator=(IdAllocation&& other) noexcept {
    if (this == &other) return *this;
    Release();
    pool_ = std::move(other.pool_);
    id_ = std::exchange(other.id_, Id());
    return *this;
  }
  ~IdAllocation() { Release(); }

  // Meaningless if empty().
  Id id() const { return id_; }
  bool empty() const { return pool_ == nullptr; }

  // Gives the id back now. The allocation is empty afterwards.
  void Release() {
    if (pool_ == nullptr) return;
    pool_->Give(id_.value());
    pool_.reset();
    id_ = Id();
  }

 private:
  template <typename>
  friend class IdAllocator;

  IdAllocation(std::shared_ptr<IdPool> pool, Id id)
      : pool_(std::move(pool)), id_(id) {}

  std::shared_ptr<IdPool> pool_;
  Id id_;
};

// Hands out the ids [first, first + count), the lowest free one first, in
// logarithmic time. `Id` is a StrongInt of 32 bits. Error messages call it by
// Id::kName. The caller includes the header of `Id`.
//
// Thread-safe.
template <typename Id>
class IdAllocator {
 public:
  // Creates an allocator for [first, first + count).
  static absl::StatusOr<std::unique_ptr<IdAllocator>> Create(Id first,
                                                             uint32_t count) {
    absl::StatusOr<std::shared_ptr<IdPool>> pool =
        IdPool::Create(first.value(), count, Id::kName);
    if (!pool.ok()) return pool.status();
    return absl::WrapUnique(new IdAllocator(*std::move(pool)));
  }

  IdAllocator(const IdAllocator&) = delete;
  IdAllocator& operator=(const IdAllocator&) = delete;

  // Returns kResourceExhausted if all are taken.
  absl::StatusOr<IdAllocation<Id>> Allocate() {
    const absl::StatusOr<uint32_t> id = pool_->Take();
    if (!id.ok()) return id.status();
    return IdAllocation<Id>(pool_, Id(*id));
  }

  uint32_t available() const { return pool_->available(); }
  uint32_t capacity() const { return pool_->capacity(); }

 private:
  explicit IdAllocator(std::shared_ptr<IdPool> pool) : pool_(std::move(pool)) {}

  const std::shared_ptr<IdPool> pool_;
};

class Gsi;
class MemorySlot;

// Hands out the GSIs of one VM that are available for MSI routes. These are the
// ones above the pins of the PIC and the IOAPIC and below KVM_CAP_IRQ_ROUTING.
// The lowest free GSI comes first, because KVM sizes its routing table by the
// highest GSI in use (kvm_set_irq_routing() in virt/kvm/irqchip.c).
using GsiAllocator = IdAllocator<Gsi>;
using GsiAllocation = IdAllocation<Gsi>;

// Hands out the memory slots of one VM. A VMM that manages slots itself creates
// the allocator above them. KVM_CAP_NR_MEMSLOTS is the end of the usable range.
using MemorySlotAllocator = IdAllocator<MemorySlot>;
using MemorySlotAllocation = IdAllocation<MemorySlot>;

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_ID_ALLOCATOR_H_
