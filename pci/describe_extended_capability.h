// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_DESCRIBE_EXTENDED_CAPABILITY_H_
#define PASSTHRU_PCI_DESCRIBE_EXTENDED_CAPABILITY_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"

namespace passthru::pci {

// Describes one extended capability in one line for human readers, with its
// offset, its name and its most important values. For example:
//
//   100: SR-IOV v1  Enable- VFs=0/64  FirstVF+0x80 Stride=2
//
// `config` is an image from the start of the configuration space, of any
// contents. A vendor-specific capability without a valid length is reported as
// malformed. For all others, registers beyond the end of the image show as all
// ones or are left out.
std::string DescribeExtendedCapability(absl::Span<const uint8_t> config,
                                       const ExtendedCapability& capability);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_DESCRIBE_EXTENDED_CAPABILITY_H_
