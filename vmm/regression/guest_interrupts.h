// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_
#define PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_

#include "absl/status/status.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/vmm/regression/bench.h"

// The interrupts of a regression run. The guest brings each kind up that it
// finds, as Linux does it, and tests every vector. The functions add sections
// to the transcript, and problems if an interrupt is lost, doubled or
// misdirected. They run on the guest's thread, with bus mastering on.

namespace passthru::vmm {

// Tests those of INTx, MSI-X and MSI that the device has.
absl::Status CheckInterrupts(guest::GuestMachine& guest,
                             guest::LinuxPciDevice& device,
                             RegressionBench& bench);

// Leaves one vector of the best kind on, after a test that it works.
absl::Status LeaveInterruptsOn(guest::GuestMachine& guest,
                               guest::LinuxPciDevice& device,
                               RegressionBench& bench);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_GUEST_INTERRUPTS_H_
