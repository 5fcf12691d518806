// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_
#define PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_

#include "absl/status/status.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/vmm/regression/bench.h"

namespace passthru::vmm {

// Runs the guest's part of a regression run, with the accesses and in the order
// of Linux. The guest enumerates the device, enables it, looks at each part of
// its BARs, moves them, takes its interrupts, resets it, and leaves it in use.
// Every step is a section of the bench's transcript.
//
// Fails if the guest cannot continue. Any other defect is a problem of the
// transcript.
absl::Status RunRegressionGuest(guest::GuestCpu& cpu,
                                const guest::GuestLayout& layout,
                                RegressionBench& bench);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_GUEST_PROGRAM_H_
