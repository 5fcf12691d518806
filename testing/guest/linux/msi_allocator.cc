// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/msi_allocator.h"

#include <cstdint>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace passthru::guest {
namespace {

constexpr uint64_t kApicBase = 0xfee00000;
constexpr uint8_t kFirstDeviceVector = 0x20;

}  // namespace

MsiAllocator::MsiAllocator(uint8_t apic_id, uint8_t first_vector)
    : address_(kApicBase | uint64_t{apic_id} << 12), next_(first_vector) {
  CHECK_GE(first_vector, kFirstDeviceVector);
}

absl::StatusOr<GuestMessage> MsiAllocator::Allocate(uint16_t count) {
  if (count == 0 || count > 32 || (count & (count - 1)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("guest: ", count, " MSI vectors are no power of two"));
  }
  const int first = (next_ + count - 1) / count * count;
  if (first + count - 1 > kLastVector) {
    return absl::ResourceExhaustedError(
        absl::StrCat("guest: no ", count, " interrupt vectors left"));
  }
  next_ = static_cast<uint16_t>(first + count);
  return GuestMessage{address_, static_cast<uint32_t>(first)};
}

GuestMessage MsiAllocator::Placeholder() const {
  return GuestMessage{address_, kPlaceholderVector};
}

}  // namespace passthru::guest
