// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_
#define PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_

#include <cstdint>

#include "passthru/allocator/strong_int.h"

namespace passthru::allocator {

// The number of a KVM memory slot, which is bits 15:0 of
// `kvm_userspace_memory_region.slot` in address space 0.
class MemorySlot : public StrongInt<MemorySlot, uint32_t> {
 public:
  using StrongInt::StrongInt;

  // What error messages call it.
  static constexpr char kName[] = "memory slot";
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_MEMORY_SLOT_H_
