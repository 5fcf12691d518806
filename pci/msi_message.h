// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_MSI_MESSAGE_H_
#define PASSTHRU_PCI_MSI_MESSAGE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace passthru::pci {

// The memory write that a function sends as an interrupt (PCI 3.0 6.8). A plain
// value.
struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;

  friend constexpr bool operator==(const MsiMessage&,
                                   const MsiMessage&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const MsiMessage& message) {
    return H::combine(std::move(h), message.address, message.data);
  }

  // "address 0xfee01000 data 0x4041".
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const MsiMessage& message) {
    sink.Append(message.ToString());
  }
};

// Is `message` an interrupt on an x86 platform (Intel SDM volume 3, 11.11)?
// A guest may put anything into its MSI registers, and KVM_SET_GSI_ROUTING
// refuses the whole VM's table for one bad entry, so this is asked before a
// message is staged. Not an interrupt are:
// - an address outside of 0xfeexxxxx, or not a multiple of four. Bits 63:40 may
//   be set: KVM_CAP_X2APIC_API takes them as bits 31:8 of the destination;
//   bits 39:32 must be 0, else KVM refuses;
// - a reserved delivery mode (3 or 6);
// - in the modes that carry a vector, fixed and lowest priority, a vector below
//   16, which no local APIC accepts.
absl::Status ValidateMsiMessage(const MsiMessage& message);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_MSI_MESSAGE_H_
