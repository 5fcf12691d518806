// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_DESCRIBE_H_
#define PASSTHRU_PCI_DESCRIBE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace passthru::pci {

// Describes a function's configuration space for human readers, in the manner
// of lspci. The result has one line for the function's identity, one for each
// BAR, one for each capability with its most important values decoded, and one
// for each capability list that is broken. For example:
//
//   1b36:0010 rev 02  NVMe controller [010802]  subsystem 1af4:1100
//   BAR0: 64-bit memory, 16 KiB at 0xfebf0000
//   40: MSI-X  Enable- Count=65 Masked-  Table BAR0+0x2000  PBA BAR0+0x3000
//
// `config` is an image from the start of the configuration space, of any length
// and contents. `bar_sizes` holds seven sizes in order of BarIndex, or is empty
// if they are not known, since an image alone does not tell them. Without
// sizes, BARs whose register is zero are left out.
std::vector<std::string> DescribeDevice(
    absl::Span<const uint8_t> config,
    absl::Span<const uint64_t> bar_sizes = {});

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_DESCRIBE_H_
