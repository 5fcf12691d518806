// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CAPABILITY_LENGTH_H_
#define PASSTHRU_PCI_CAPABILITY_LENGTH_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"

namespace passthru::pci {

// How many bytes a capability occupies from its offset on, its header included,
// by its specification and the sizes that its own registers declare. Nothing
// for an ID whose layout is not known or is not determined by the capability
// itself, and where `config` ends before the registers that declare the size.
//
// The length is what the layout says; it may reach into the next capability or
// past the end of `config` when the device is wrong: the caller clamps.
//
// For an endpoint, and the IDs that Linux's vfio-pci shows to user space, these
// are the lengths it works with (drivers/vfio/pci/vfio_pci_config.c:
// pci_cap_length, pci_ext_cap_length, vfio_cap_len, vfio_ext_cap_len). Which
// IDs it hides is its own policy and no property of PCI.
std::optional<uint16_t> StandardCapabilityLength(
    absl::Span<const uint8_t> config, const Capability& capability);
std::optional<uint16_t> ExtendedCapabilityLength(
    absl::Span<const uint8_t> config, const ExtendedCapability& capability);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CAPABILITY_LENGTH_H_
