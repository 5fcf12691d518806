// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_
#define PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_

#include "absl/status/status.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/vmm/regression/bench.h"

// The interrupts of a regression run: each kind that the guest finds is brought
// up as Linux does it and every vector is put to the test. Sections of the
// transcript, and problems where an interrupt is lost, doubled or misdirected.
// On the guest's thread, with bus mastering on.

namespace passthru::vmm {

// INTx, MSI-X, MSI: whatever there is.
absl::Status CheckInterrupts(guest::GuestMachine& guest,
                             guest::LinuxPciDevice& device,
                             RegressionBench& bench);

// Leaves one vector of the best kind on, after seeing that it works.
absl::Status LeaveInterruptsOn(guest::GuestMachine& guest,
                               guest::LinuxPciDevice& device,
                               RegressionBench& bench);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_
