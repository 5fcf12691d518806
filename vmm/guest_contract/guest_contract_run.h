// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_CONTRACT_GUEST_CONTRACT_RUN_H_
#define PASSTHRU_VMM_GUEST_CONTRACT_GUEST_CONTRACT_RUN_H_

#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::vmm {

// A host with the two devices that contract::ObserveAsGuest() uses.
struct GuestContractHost {
  kernel::Syscalls* syscalls = nullptr;
  // The simulated kernel if KVM is simulated too. Null if KVM is real.
  fake::FakeKernel* simulated_kvm = nullptr;
  // The addresses of the devices on the host.
  pci::Bdf nvme;
  pci::Bdf memory;
};

// Passes the devices through to a machine, lets the guest observe them and
// detaches them. Appends the observations that the guest made, even if the run
// fails later.
absl::Status RunGuestContract(const GuestContractHost& host,
                              std::vector<contract::Observation>& observations);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_CONTRACT_GUEST_CONTRACT_RUN_H_
