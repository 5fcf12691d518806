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

// Places and moves BARs (drivers/pci/setup-res.c).

namespace passthru::guest {

// Writes `address` into the BAR and checks what reads back, with memory decode
// off around the two halves of a 64-bit BAR. Mirrors pci_std_update_resource().
// A ROM that is not enabled keeps its register, and only `device` notes the
// address. Fails where the kernel reports an error updating the BAR, and leaves
// the registers as they are then.
absl::Status UpdateResource(LinuxPciDevice& device, int index,
                            uint64_t address);

// The host bridge's windows, with the ranges in use.
//
// Only the guest's thread may use it.
class PciResources {
 public:
  explicit PciResources(const GuestLayout& layout);

  // Keeps each BAR that firmware put at a free, aligned address inside a
  // window, like pcibios_allocate_resources(). The caller must claim all
  // devices before it assigns any BAR. ROMs get no address, because no driver
  // here reads them.
  void Claim(const LinuxPciDevice& device);

  // Finds an address for each of the other BARs, like
  // pci_assign_unassigned_resources().
  absl::Status AssignUnclaimed(LinuxPciDevice& device);

  // Moves the BAR to another free address in a window that can hold it.
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
