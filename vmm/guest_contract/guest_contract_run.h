// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_CONTRACT_RUN_H_
#define PASSTHRU_VMM_GUEST_CONTRACT_RUN_H_

#include <vector>

#include "absl/status/status.h"
#include "devices/kernel/syscalls.h"
#include "pci/bdf.h"
#include "testing/contract/observation.h"
#include "testing/fake_kernel.h"
#include "testing/guest/guest_contract.h"

namespace passthru::vmm {

// A host with the two devices that fake::ObserveAsGuest() uses.
struct GuestContractHost {
  kernel::Syscalls* syscalls = nullptr;
  // Whose KVM is simulated; null where it is real.
  fake::FakeKernel* simulated_kvm = nullptr;
  pci::Bdf nvme;
  pci::Bdf memory;
};

// Passes the devices through to a machine, lets the guest observe them, and
// takes them away again.
absl::Status RunGuestContract(const GuestContractHost& host,
                              std::vector<fake::Observation>& observations);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_CONTRACT_RUN_H_
