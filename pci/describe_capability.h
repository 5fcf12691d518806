// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_
#define PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"

namespace passthru::pci {

// One line for human eyes: offset, name and the essentials of one capability,
// for example
//
//   40: MSI-X  Enable- Count=65 Masked-  Table BAR0+0x2000  PBA BAR0+0x3000
//
// `config` is an image from the start of the configuration space, of any
// contents; a capability that makes no sense is called malformed, with the
// reason.
std::string DescribeCapability(absl::Span<const uint8_t> config,
                               const Capability& capability);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_
