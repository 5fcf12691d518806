// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_
#define PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_

#include "absl/status/status.h"
#include "testing/guest/guest_layout.h"
#include "testing/guest_cpu.h"
#include "vmm/regression/bench.h"

namespace passthru::vmm {

// What the guest of a regression run does with the device, with the accesses
// and in the order of Linux: enumerates it, enables it, looks at each part of
// its BARs, moves them, takes its interrupts, resets it, and leaves it in use.
// Every step is a section of the bench's transcript.
//
// Fails where the guest cannot go on; what is wrong otherwise is a problem.
absl::Status RunRegressionGuest(fake::GuestCpu& cpu,
                                const fake::GuestLayout& layout,
                                RegressionBench& bench);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_
