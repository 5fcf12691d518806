// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_SLOTS_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_SLOTS_H_

#include <linux/kvm.h>

#include <cstdint>
#include <map>
#include <vector>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// One memory slot (struct kvm_memory_slot).
struct FakeKvmSlot {
  uint32_t slot = 0;  // Bits 31:16 are the address space, as in the UAPI.
  uint32_t flags = 0;
  uint64_t guest_address = 0;
  uint64_t size = 0;
  uint64_t host_address = 0;

  uint64_t guest_end() const { return guest_address + size; }
  bool read_only() const { return (flags & KVM_MEM_READONLY) != 0; }
};

// The memory slots of one VM, with the rules of kvm_set_memory_region() in
// virt/kvm/kvm_main.c.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmSlots {
 public:
  FakeKvmSlots(KernelVersion version, unsigned physical_address_bits);

  // Carries out KVM_SET_USER_MEMORY_REGION. Returns 0 or an errno.
  int Set(const kvm_userspace_memory_region& region);

  // Returns the slot of address space 0, which is not SMM's, that backs this
  // byte, or null.
  const FakeKvmSlot* Find(uint64_t guest_address) const;

  std::vector<FakeKvmSlot> All() const;
  const std::map<uint32_t, FakeKvmSlot>& by_number() const { return slots_; }

 private:
  bool Overlaps(uint32_t slot, uint64_t guest_address, uint64_t size) const;
  void Insert(const FakeKvmSlot& slot);
  void Erase(const FakeKvmSlot& slot);

  // The first guest address that no slot reaches, which kvm_mmu_max_gfn() takes
  // from the host's CPU if that has two levels of page tables.
  const uint64_t address_end_;
  // The count of KVM_CAP_MULTI_ADDRESS_SPACE. The second one is SMM's.
  const uint32_t address_spaces_;
  std::map<uint32_t, FakeKvmSlot> slots_;  // The key is `slot`.
  // Slot numbers by address space and guest address. The slots of one space
  // never overlap.
  std::map<uint64_t, uint32_t> by_address_[2];
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_SLOTS_H_
