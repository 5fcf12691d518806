// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_CONTRACT_H_
#define PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::contract {

// How often the vCPU left the guest so far, for the guest's own accesses.
struct GuestExits {
  uint64_t mmio_reads = 0;
  uint64_t mmio_writes = 0;
  uint64_t port_reads = 0;
  uint64_t port_writes = 0;
};

struct GuestContractOptions {
  guest::GuestLayout layout;
  // In the guest: QEMU's NVMe controller, and its ivshmem-plain with 4 MiB of
  // shared memory, at the addresses that their BARs were first given.
  pci::Bdf nvme;
  pci::Bdf memory;
  std::function<GuestExits()> exits;
};

// The guest program that a simulated KVM and real ones are compared with:
// configuration space by both mechanisms, BAR sizing, mapped and trapped parts
// of BARs, MSI-X into its interrupt handler, a BAR that moves, decode. Each
// observation is appended as it is made, so that a failure shows how far it
// came: "mapped: load 4 of memory -> 0x44332211, no exit". The media of disks
// is not written.
absl::Status ObserveAsGuest(guest::GuestCpu& cpu,
                            const GuestContractOptions& options,
                            std::vector<Observation>& observations);

// What the guest saw on real KVM with real VFIO: QEMU's devices of a lab with
// Linux 6.1 and 6.12, which gave the same list.
std::vector<Observation> GuestTranscript();

// Two lines for each place where the observations are not those of the
// transcript; nothing where they are the same list.
std::vector<std::string> DifferencesFromGuestTranscript(
    const std::vector<Observation>& observations);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_CONTRACT_H_
