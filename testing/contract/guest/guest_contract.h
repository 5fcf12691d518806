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

// How often the guest's own accesses made the vCPU exit so far.
struct GuestExits {
  uint64_t mmio_reads = 0;
  uint64_t mmio_writes = 0;
  uint64_t port_reads = 0;
  uint64_t port_writes = 0;
};

struct GuestContractOptions {
  guest::GuestLayout layout;
  // Two functions of the guest, QEMU's NVMe controller and its ivshmem-plain
  // with 4 MiB of shared memory. Their BARs have the addresses first given to
  // them.
  pci::Bdf nvme;
  pci::Bdf memory;
  std::function<GuestExits()> exits;
};

// Runs the guest program whose observations are compared between a simulated
// KVM and real ones. It tries configuration space by both mechanisms, BAR
// sizing, mapped and trapped parts of BARs, MSI-X into its interrupt handler, a
// BAR that moves, and decode. It appends each observation as it makes it, so
// that a failure shows how far it came. An example is "mapped: load 4 of memory
// -> 0x44332211, no exit". It does not write the media of disks.
absl::Status ObserveAsGuest(guest::GuestCpu& cpu,
                            const GuestContractOptions& options,
                            std::vector<Observation>& observations);

// Returns what the guest saw on real KVM with real VFIO. The lab's QEMU devices
// gave the same list with Linux 6.1 and 6.12.
std::vector<Observation> GuestAnswers();

// Returns two lines for each place where the observations differ from
// GuestAnswers(), or nothing if they are the same list.
std::vector<std::string> DifferencesFromGuestAnswers(
    const std::vector<Observation>& observations);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_CONTRACT_H_
