// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSI_MESSAGE_H_
#define PASSTHRU_PCI_MSI_MESSAGE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace passthru::pci {

// The memory write that a function sends as an interrupt (PCI 3.0 6.8).
//
// A plain value.
struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;

  friend constexpr bool operator==(const MsiMessage&,
                                   const MsiMessage&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const MsiMessage& message) {
    return H::combine(std::move(h), message.address, message.data);
  }

  // Returns for example "address 0xfee01000 data 0x4041".
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const MsiMessage& message) {
    sink.Append(message.ToString());
  }
};

// Returns OK if `message` is an interrupt on an x86 platform (Intel SDM volume
// 3, 11.11), and kInvalidArgument otherwise. A guest may put anything into its
// MSI registers, and KVM_SET_GSI_ROUTING refuses the VM's whole table because
// of one bad entry, so callers must validate a message before they stage it.
// These are not interrupts:
// - A message whose address is outside 0xfeexxxxx, is not a multiple of four,
//   or has a bit of 39:32 set, which KVM refuses. Bits 63:40 may be set,
//   because KVM_CAP_X2APIC_API takes them as bits 31:8 of the destination.
// - A message with a reserved delivery mode (3 or 6).
// - A message in a delivery mode that carries a vector, fixed or lowest
//   priority, with a vector below 16, which no local APIC accepts.
absl::Status ValidateMsiMessage(const MsiMessage& message);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSI_MESSAGE_H_
