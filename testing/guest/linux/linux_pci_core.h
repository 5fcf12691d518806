// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

// What a Linux driver asks of the PCI core (drivers/pci/pci.c), access for
// access.

namespace passthru::guest {

enum class PciPowerState : uint8_t { kD0 = 0, kD3hot = 3 };

// pci_enable_device(): D0, decode for the kinds of BAR there are, and the pin
// enabled unless messages are in use.
absl::Status PciEnableDevice(LinuxPciDevice& device);
// pci_disable_device(): bus mastering off. Decode stays, as in the kernel.
void PciDisableDevice(LinuxPciDevice& device);

// pci_set_master() and pci_clear_master().
void PciSetMaster(LinuxPciDevice& device);
void PciClearMaster(LinuxPciDevice& device);

// pci_intx(): the command register's interrupt disable bit.
void PciIntx(LinuxPciDevice& device, bool enable);

// pci_set_power_state(). Going to D0 from D3hot of a function that resets on
// the way needs PciRestoreState() of what was saved before. NotFound without
// the capability; Unavailable if the function does not take the state.
absl::Status PciSetPowerState(LinuxPciDevice& device, PciPowerState state);

// pci_save_state() and pci_restore_state() of the standard header and the
// PCI Express device control: only registers that differ are written, from the
// last to the first, so that BARs are back before the command register is.
struct PciSavedState {
  uint32_t header[16] = {};
  uint16_t device_control = 0;
};
PciSavedState PciSaveState(const LinuxPciDevice& device);
void PciRestoreState(LinuxPciDevice& device, const PciSavedState& saved);

// pci_reset_function() by function level reset: the state saved, the function
// silenced, reset (pcie_flr() or pci_af_flr()), awaited and restored. MSI and
// MSI-X must be off. NotFound where the function cannot do it.
absl::Status PciResetFunction(LinuxPciDevice& device);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_
