// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CAPABILITY_LENGTH_H_
#define PASSTHRU_PCI_CAPABILITY_LENGTH_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"

namespace passthru::pci {

// Returns how many bytes a capability occupies, from its offset and including
// its header. The length follows from the specification and from the sizes that
// the capability's own registers declare. Returns std::nullopt if the layout of
// the ID is not known, if the capability alone does not determine its length,
// if it declares a length shorter than its header, or if `config` ends before
// the registers that declare the size.
//
// The result is not clamped. If the device is wrong, it may reach into the next
// capability or past the end of `config`, and the caller must clamp it.
//
// For endpoints, and for the IDs that Linux's vfio-pci shows to user space, the
// lengths agree with those of vfio-pci (pci_cap_length, pci_ext_cap_length,
// vfio_cap_len and vfio_ext_cap_len in drivers/vfio/pci/vfio_pci_config.c).
// Which IDs vfio-pci hides is its own policy and not a property of PCI.
std::optional<uint16_t> StandardCapabilityLength(
    absl::Span<const uint8_t> config, const Capability& capability);
std::optional<uint16_t> ExtendedCapabilityLength(
    absl::Span<const uint8_t> config, const ExtendedCapability& capability);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CAPABILITY_LENGTH_H_
