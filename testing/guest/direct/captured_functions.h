// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_
#define PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_

#include "passthru/testing/guest/direct/direct_function.h"

namespace passthru::guest {

// Functions for a DirectMachine, with the configuration of the captured QEMU
// devices, and some that no capture has.

// 64-bit BAR of 16 KiB at 0xfe600000 by firmware, MSI-X with 65 vectors, PCI
// Express with FLR, power management; 4096 bytes of configuration.
DirectFunction::Options CapturedNvme();
// 1 MiB BAR, one 64-bit MSI without masking; 256 bytes.
DirectFunction::Options CapturedEdu();
// A host bridge without BARs.
DirectFunction::Options PlainHostBridge();
// BAR 0: 32-bit memory, 4 KiB. BAR 1: I/O, 32 ports. BAR 2 and 3: 64-bit
// memory, 8 GiB. MSI with 4 vectors and masks. Nothing placed. `multifunction`
// sets bit 7 of the header type.
DirectFunction::Options MixedFunction(bool multifunction);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DIRECT_CAPTURED_FUNCTIONS_H_
