// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_
#define PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "passthru/testing/guest/guest_cpu.h"

namespace passthru::guest {

// A message as the guest programs it and as it arrives.
using GuestMessage = GuestInterrupt;

// Hands out interrupt vectors of one local APIC as x86 message addresses and
// data (Intel SDM volume 3, 11.11): address 0xFEE00000 with the APIC's id in
// bits 19:12, data the vector, edge triggered, fixed delivery.
//
// Used by the guest's thread only.
class MsiAllocator {
 public:
  // Linux's last device vector: those above are system vectors.
  static constexpr uint8_t kLastVector = 0xeb;
  // What Linux programs before an interrupt is requested, in reservation mode:
  // MANAGED_IRQ_SHUTDOWN_VECTOR.
  static constexpr uint8_t kPlaceholderVector = 0xef;

  // `first_vector` is 32 (those below are exceptions) to kLastVector.
  MsiAllocator(uint8_t apic_id, uint8_t first_vector);

  // `count` consecutive vectors, the first a multiple of `count`, which is a
  // power of two: what MSI with several messages needs. Returns the first.
  absl::StatusOr<GuestMessage> Allocate(uint16_t count = 1);

  // The message of a vector that is allocated but not requested yet.
  GuestMessage Placeholder() const;

 private:
  const uint64_t address_;
  uint16_t next_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_
