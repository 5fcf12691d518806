// SPDX-License-Identifier: Apache-2.0
#ifndef PCI_BAR_H_
#define PCI_BAR_H_

// This VMM has a pci/bar.h of its own, as VMMs do. It does not collide with the
// library's, which is "passthru/pci/bar.h".
namespace example {

// The port at which the VMM's own device answers.
inline constexpr unsigned kClockPort = 0x600;

}  // namespace example

#endif  // PCI_BAR_H_
