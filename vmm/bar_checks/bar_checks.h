// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BAR_CHECKS_BAR_CHECKS_H_
#define PASSTHRU_VMM_BAR_CHECKS_BAR_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::vmm {

// The kernel on which a check makes a machine and passes devices through.
struct BarChecksHost {
  kernel::Syscalls* syscalls = nullptr;
  // The same kernel if its KVM is simulated, and null if it is real.
  fake::FakeKernel* simulated_kvm = nullptr;
};

// Lets a guest make QEMU's `edu`, with a dma_mask of 48 bits, copy between RAM
// and BAR 2 of `peer`, an ivshmem-plain. Returns an error unless the device
// reaches the RAM, and reaches the BAR if and only if `peer_to_peer` is on.
absl::Status CheckPeerDma(const BarChecksHost& host, pci::Bdf edu,
                          pci::Bdf peer, bool peer_to_peer);

// Lets a guest read BAR 0 of a device, which is smaller than a page. Returns an
// error unless it does so without an exit where the BAR has its page alone, and
// with one in the middle of a page, and reads the same.
absl::Status CheckSmallBar(const BarChecksHost& host, pci::Bdf device);

// The cost of a mapped BAR.
struct BarPages {
  uint64_t size = 0;    // of the BAR
  uint64_t faults = 0;  // minor faults of this process that touches each page
  // Pages of each size that KVM maps when a guest touches one address in each
  // 2 MiB.
  uint64_t kvm_4_kib = 0;
  uint64_t kvm_2_mib = 0;
};

// Counts the pages of a memory BAR, whose reads have no side effects. Only for
// a real kernel, because the simulated one has no page tables
// (FakeVfio::CountBarEntries() derives the number).
absl::StatusOr<BarPages> CountBarPages(const BarChecksHost& host,
                                       pci::Bdf device, uint8_t bar);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_BAR_CHECKS_BAR_CHECKS_H_
