// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_RESOURCES_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_RESOURCES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

// Where BARs live and how they get there (drivers/pci/setup-res.c).

namespace passthru::guest {

// pci_std_update_resource(): writes `address` into the BAR, with memory decode
// off around the two halves of a 64-bit one, and checks what reads back. A ROM
// that is not enabled is only remembered. Fails as the kernel's "error
// updating" does, with the registers as they then are.
absl::Status UpdateResource(LinuxPciDevice& device, int index,
                            uint64_t address);

// The host bridge's windows with what is in use of them.
//
// Used by the guest's thread only.
class PciResources {
 public:
  explicit PciResources(const GuestLayout& layout);

  // pcibios_allocate_resources(): keeps each BAR that firmware put at a free,
  // aligned place inside a window. To be done for all devices before any BAR
  // is assigned. ROMs get no place: nothing here reads them.
  void Claim(const LinuxPciDevice& device);

  // pci_assign_unassigned_resources(): finds a place for the other BARs.
  absl::Status AssignUnclaimed(LinuxPciDevice& device);

  // Moves the BAR to another free place in a window that can hold it.
  absl::Status Move(LinuxPciDevice& device, int index);

 private:
  struct Used {
    pci::Bdf owner;
    int bar;
    bool io;
    GuestRange range;
  };

  std::vector<GuestRange> Windows(const GuestBar& bar) const;
  bool IsFree(bool io, const GuestRange& range) const;
  bool IsClaimed(const LinuxPciDevice& device, int bar) const;
  bool CanStay(const GuestBar& bar) const;
  absl::StatusOr<uint64_t> FindPlace(const LinuxPciDevice& device,
                                     const GuestBar& bar) const;

  const GuestRange io_window_;
  const GuestRange memory32_window_;
  const GuestRange memory64_window_;
  std::vector<Used> used_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_RESOURCES_H_
