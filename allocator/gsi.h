// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_ALLOCATOR_GSI_H_
#define PASSTHRU_ALLOCATOR_GSI_H_

#include <cstdint>

#include "passthru/allocator/strong_int.h"

namespace passthru::allocator {

// A global system interrupt, the number by which KVM_IRQFD and the entries of
// KVM_SET_GSI_ROUTING identify one interrupt of a VM. It is a distinct type so
// that code cannot mistake it for a vector index or a file descriptor.
class Gsi : public StrongInt<Gsi, uint32_t> {
 public:
  using StrongInt::StrongInt;

  // What error messages call it.
  static constexpr char kName[] = "GSI";
};

}  // namespace passthru::allocator

#endif  // PASSTHRU_ALLOCATOR_GSI_H_
