// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_
#define PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_

#include <cstddef>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/memory_slot_allocator.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"

namespace passthru::kvm {

// Gives the guest what is in a memory map: one KVM memory slot an area, from
// an allocator that a VMM with slots of its own shares.
//
// Destroy it after it has been removed from its map: slots that are left are
// given back to the allocator but stay in the VM.
//
// Thread-safe.
class KvmSlotListener final : public memory::MemoryListener {
 public:
  // Both must outlive it.
  KvmSlotListener(KvmVm* vm, allocator::MemorySlotAllocator* slots)
      : vm_(vm), slots_(slots) {}

  absl::Status OnAdd(const memory::MemoryArea& area) override;
  absl::Status OnRemove(const memory::MemoryArea& area) override;

  // How many slots are in use.
  size_t slot_count() const;

 private:
  KvmVm* const vm_;
  allocator::MemorySlotAllocator* const slots_;

  mutable absl::Mutex mutex_;
  // Areas do not overlap, so the first address names one.
  absl::flat_hash_map<memory::GuestAddress, allocator::MemorySlotAllocation>
      used_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_SLOT_LISTENER_H_
