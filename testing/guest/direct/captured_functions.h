// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_
#define PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_

#include "passthru/testing/guest/direct/direct_function.h"

namespace passthru::guest {

// Options of functions for a DirectMachine. The first two have the
// configuration of captured QEMU devices, the others are not captured.

// QEMU's NVMe controller, with 4096 bytes of configuration. It has a 64-bit BAR
// of 16 KiB that firmware placed at 0xfe600000, MSI-X with 65 vectors, PCI
// Express with FLR, and power management.
DirectFunction::Options CapturedNvme();
// QEMU's edu, with 256 bytes of configuration. It has a BAR of 1 MiB and one
// 64-bit MSI vector without masking.
DirectFunction::Options CapturedEdu();
// A host bridge without BARs.
DirectFunction::Options PlainHostBridge();
// A function with several kinds of BAR, none of them placed. BAR 0 is 32-bit
// memory of 4 KiB, BAR 1 has 32 I/O ports, and BARs 2 and 3 are 64-bit memory
// of 8 GiB. It has MSI with 4 vectors and masks. `multifunction` sets bit 7 of
// the header type.
DirectFunction::Options MixedFunction(bool multifunction);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_
