// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/slot_listener.h"

#include <cstddef>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::kvm {

absl::Status KvmSlotListener::OnAdd(const memory::MemoryArea& area) {
  PASSTHRU_ASSIGN_OR_RETURN(allocator::MemorySlotAllocation slot,
                            slots_->Allocate());
  PASSTHRU_RETURN_IF_ERROR(vm_->SetMemorySlot(slot.id(), area.guest, area.size,
                                              area.host, area.read_only));
  absl::MutexLock lock(&mutex_);
  used_[area.guest] = std::move(slot);
  return absl::OkStatus();
}

absl::Status KvmSlotListener::OnRemove(const memory::MemoryArea& area) {
  absl::MutexLock lock(&mutex_);
  const auto found = used_.find(area.guest);
  if (found == used_.end()) {
    return absl::NotFoundError(absl::StrCat("no slot holds ", area));
  }
  // The slot returns to the allocator only after the kernel has deleted it.
  PASSTHRU_RETURN_IF_ERROR(vm_->DeleteMemorySlot(found->second.id()));
  used_.erase(found);
  return absl::OkStatus();
}

size_t KvmSlotListener::slot_count() const {
  absl::MutexLock lock(&mutex_);
  return used_.size();
}

std::map<memory::GuestAddress, allocator::MemorySlot> KvmSlotListener::Slots()
    const {
  absl::MutexLock lock(&mutex_);
  std::map<memory::GuestAddress, allocator::MemorySlot> slots;
  for (const auto& [address, slot] : used_) slots.emplace(address, slot.id());
  return slots;
}

}  // namespace passthru::kvm
