// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/memory_slot_allocator.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"

namespace passthru::allocator {

absl::StatusOr<std::unique_ptr<MemorySlotAllocator>>
MemorySlotAllocator::Create(uint32_t count, MemorySlot first) {
  absl::StatusOr<std::unique_ptr<IdAllocator>> ids =
      IdAllocator::Create(first.value(), count, "memory slot");
  if (!ids.ok()) return ids.status();
  return absl::WrapUnique(new MemorySlotAllocator(*std::move(ids)));
}

absl::StatusOr<MemorySlotAllocation> MemorySlotAllocator::Allocate() {
  absl::StatusOr<IdAllocation> id = ids_->Allocate();
  if (!id.ok()) return id.status();
  return MemorySlotAllocation(*std::move(id));
}

}  // namespace passthru::allocator
