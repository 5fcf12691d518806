// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msi_message.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace passthru::pci {
namespace {

// Intel SDM volume 3, 11.11.1 and 11.11.2.
constexpr uint32_t kInterruptWindowMask = 0xfff00000;
constexpr uint32_t kInterruptWindow = 0xfee00000;
constexpr uint32_t kDeliveryFixed = 0;
constexpr uint32_t kDeliveryLowestPriority = 1;
constexpr uint32_t kDeliveryReserved3 = 3;
constexpr uint32_t kDeliveryReserved6 = 6;
constexpr uint32_t kFirstLegalVector = 16;

absl::Status Refused(const MsiMessage& message, const char* why) {
  return absl::InvalidArgumentError(
      absl::StrFormat("MSI message %v: %s", message, why));
}

}  // namespace

std::string MsiMessage::ToString() const {
  return absl::StrFormat("address 0x%08x data 0x%04x", address, data);
}

absl::Status ValidateMsiMessage(const MsiMessage& message) {
  const auto low = static_cast<uint32_t>(message.address);
  const auto high = static_cast<uint32_t>(message.address >> 32);
  if ((low & kInterruptWindowMask) != kInterruptWindow) {
    return Refused(message,
                   "the address is not in the interrupt window 0xfeexxxxx");
  }
  if ((low & 3) != 0) {
    return Refused(message, "the address is not a multiple of four");
  }
  if ((high & 0xff) != 0) {
    return Refused(message, "bits 39:32 of the address are not zero");
  }
  const uint32_t delivery_mode = (message.data >> 8) & 7;
  if (delivery_mode == kDeliveryReserved3 ||
      delivery_mode == kDeliveryReserved6) {
    return Refused(message, "the delivery mode is reserved");
  }
  if ((delivery_mode == kDeliveryFixed ||
       delivery_mode == kDeliveryLowestPriority) &&
      (message.data & 0xff) < kFirstLegalVector) {
    return Refused(message, "the vector is below 16");
  }
  return absl::OkStatus();
}

}  // namespace passthru::pci
