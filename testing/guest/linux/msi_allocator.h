// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_
#define PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "passthru/testing/guest/guest_cpu.h"

namespace passthru::guest {

// A message as the guest programs it and as it arrives.
using GuestMessage = GuestInterrupt;

// Allocates interrupt vectors of one local APIC as x86 message addresses and
// data (Intel SDM volume 3, 11.11). The address is 0xFEE00000 with the APIC's
// id in bits 19:12. The data is the vector, edge triggered, with fixed
// delivery.
//
// Only the guest's thread may use it.
class MsiAllocator {
 public:
  // Linux's last device vector. Those above are system vectors.
  static constexpr uint8_t kLastVector = 0xeb;
  // The vector that Linux programs in reservation mode before a driver requests
  // the interrupt, MANAGED_IRQ_SHUTDOWN_VECTOR.
  static constexpr uint8_t kPlaceholderVector = 0xef;

  // `first_vector` is 32 to kLastVector. Those below 32 are exceptions.
  MsiAllocator(uint8_t apic_id, uint8_t first_vector);

  // Allocates `count` consecutive vectors and returns the first. `count` is a
  // power of two and the first vector is a multiple of it, as MSI with several
  // messages needs it.
  absl::StatusOr<GuestMessage> Allocate(uint16_t count = 1);

  // Returns the message of a vector that is allocated but not requested yet.
  GuestMessage Placeholder() const;

 private:
  const uint64_t address_;
  uint16_t next_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_MSI_ALLOCATOR_H_
