// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_slots.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <vector>

#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kPageMask = 0xfff;
// TASK_SIZE_MAX with four-level page tables.
constexpr uint64_t kUserEnd = 0x7ffffffff000;
// KVM_MEM_MAX_NR_PAGES.
constexpr uint64_t kMaxPages = (uint64_t{1} << 31) - 1;

constexpr uint32_t kValidFlags = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY;

}  // namespace

FakeKvmSlots::FakeKvmSlots(KernelVersion version,
                           unsigned physical_address_bits)
    : address_end_(uint64_t{1} << physical_address_bits),
      address_spaces_(
          KvmCapability(version, KVM_CAP_MULTI_ADDRESS_SPACE) >= 2 ? 2 : 1) {}

// The checks are in the kernel's order.
int FakeKvmSlots::Set(const kvm_userspace_memory_region& region) {
  const uint32_t space = region.slot >> 16;
  if ((region.slot & 0xffff) >= kKvmSlotCount) return EINVAL;
  if ((region.flags & ~kValidFlags) != 0) return EINVAL;
  if ((region.memory_size & kPageMask) != 0) return EINVAL;
  if ((region.guest_phys_addr & kPageMask) != 0) return EINVAL;
  if ((region.userspace_addr & kPageMask) != 0) return EINVAL;
  if (region.memory_size > kUserEnd ||
      region.userspace_addr > kUserEnd - region.memory_size) {
    return EINVAL;
  }
  if (space >= address_spaces_) return EINVAL;
  if (region.guest_phys_addr + region.memory_size < region.guest_phys_addr) {
    return EINVAL;
  }
  if (region.memory_size / (kPageMask + 1) > kMaxPages) return EINVAL;

  const auto existing = slots_.find(region.slot);
  if (region.memory_size == 0) {
    if (existing == slots_.end()) return EINVAL;
    Erase(existing->second);
    return 0;
  }

  const FakeKvmSlot wanted{.slot = region.slot,
                           .flags = region.flags,
                           .guest_address = region.guest_phys_addr,
                           .size = region.memory_size,
                           .host_address = region.userspace_addr};
  if (existing != slots_.end()) {
    FakeKvmSlot& old = existing->second;
    if (wanted.host_address != old.host_address || wanted.size != old.size ||
        ((wanted.flags ^ old.flags) & KVM_MEM_READONLY) != 0) {
      return EINVAL;
    }
    if (wanted.guest_address == old.guest_address) {
      old.flags = wanted.flags;
      return 0;
    }
  }
  if (Overlaps(wanted.slot, wanted.guest_address, wanted.size)) return EEXIST;
  // This check is in kvm_arch_prepare_memory_region().
  if (wanted.guest_end() > address_end_) return EINVAL;
  if (existing != slots_.end()) Erase(existing->second);
  Insert(wanted);
  return 0;
}

const FakeKvmSlot* FakeKvmSlots::Find(uint64_t guest_address) const {
  const auto next = by_address_[0].upper_bound(guest_address);
  if (next == by_address_[0].begin()) return nullptr;
  const FakeKvmSlot& slot = slots_.at(std::prev(next)->second);
  return guest_address < slot.guest_end() ? &slot : nullptr;
}

std::vector<FakeKvmSlot> FakeKvmSlots::All() const {
  std::vector<FakeKvmSlot> all;
  all.reserve(slots_.size());
  for (const auto& [number, slot] : slots_) all.push_back(slot);
  return all;
}

bool FakeKvmSlots::Overlaps(uint32_t slot, uint64_t guest_address,
                            uint64_t size) const {
  const auto& space = by_address_[slot >> 16];
  auto next = space.upper_bound(guest_address);
  if (next != space.begin()) next = std::prev(next);
  for (; next != space.end() && next->first < guest_address + size; ++next) {
    if (next->second != slot &&
        slots_.at(next->second).guest_end() > guest_address) {
      return true;
    }
  }
  return false;
}

void FakeKvmSlots::Insert(const FakeKvmSlot& slot) {
  slots_[slot.slot] = slot;
  by_address_[slot.slot >> 16][slot.guest_address] = slot.slot;
}

void FakeKvmSlots::Erase(const FakeKvmSlot& slot) {
  by_address_[slot.slot >> 16].erase(slot.guest_address);
  slots_.erase(slot.slot);
}

}  // namespace passthru::fake
