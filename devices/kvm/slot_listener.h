// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_
#define PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_

#include <cstddef>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"

namespace passthru::kvm {

// A listener that gives the guest the areas of a memory map, each as one KVM
// memory slot. It takes slots from an allocator, which a VMM that sets slots
// itself must share.
//
// Remove it from its map before destroying it. Otherwise its destructor returns
// the remaining slots to the allocator although they stay in the VM.
//
// Thread-safe.
class KvmSlotListener final : public memory::MemoryListener {
 public:
  // `vm` and `slots` must outlive it.
  KvmSlotListener(KvmVm* vm, allocator::MemorySlotAllocator* slots)
      : vm_(vm), slots_(slots) {}

  absl::Status OnAdd(const memory::MemoryArea& area) override;
  absl::Status OnRemove(const memory::MemoryArea& area) override;

  // Returns how many slots this listener uses.
  size_t slot_count() const;
  // Returns the slot of each area, by the area's first address.
  std::map<memory::GuestAddress, allocator::MemorySlot> Slots() const;

 private:
  KvmVm* const vm_;
  allocator::MemorySlotAllocator* const slots_;

  mutable absl::Mutex mutex_;
  // Maps an area's first address to its slot. Areas do not overlap, so the
  // address is unique.
  absl::flat_hash_map<memory::GuestAddress, allocator::MemorySlotAllocation>
      used_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_
