// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_
#define PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"

namespace passthru::pci {

// Describes one capability in one line for human readers, with its offset, its
// name and its most important values. For example:
//
//   40: MSI-X  Enable- Count=65 Masked-  Table BAR0+0x2000  PBA BAR0+0x3000
//
// `config` is an image from the start of the configuration space, of any
// contents. A capability whose contents make no sense is reported as malformed,
// with the reason.
std::string DescribeCapability(absl::Span<const uint8_t> config,
                               const Capability& capability);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_DESCRIBE_CAPABILITY_H_
