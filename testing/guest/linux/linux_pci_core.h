// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

// Functions of the PCI core (drivers/pci/pci.c) for Linux drivers. They make
// the same accesses in the same order.

namespace passthru::guest {

enum class PciPowerState : uint8_t { kD0 = 0, kD3hot = 3 };

// Puts the function into D0, enables decode for the kinds of BAR that it has,
// and enables the pin unless messages are in use. Mirrors pci_enable_device().
absl::Status PciEnableDevice(LinuxPciDevice& device);
// Turns bus mastering off. Decode stays on, as in pci_disable_device().
void PciDisableDevice(LinuxPciDevice& device);

// Turn bus mastering on and off, like pci_set_master() and pci_clear_master().
void PciSetMaster(LinuxPciDevice& device);
void PciClearMaster(LinuxPciDevice& device);

// Writes the command register's interrupt disable bit, like pci_intx().
void PciIntx(LinuxPciDevice& device, bool enable);

// Changes the power state, like pci_set_power_state(). A function that resets
// on its way from D3hot to D0 needs a PciRestoreState() of a state that the
// caller saved before. Returns NotFound without the capability, and Unavailable
// if the function does not enter the state.
absl::Status PciSetPowerState(LinuxPciDevice& device, PciPowerState state);

// The saved standard header and PCI Express device control, as in
// pci_save_state() and pci_restore_state(). PciRestoreState() writes only
// header registers that differ, from the last to the first, so that it restores
// BARs before the command register.
struct PciSavedState {
  uint32_t header[16] = {};
  uint16_t device_control = 0;
};
PciSavedState PciSaveState(const LinuxPciDevice& device);
void PciRestoreState(LinuxPciDevice& device, const PciSavedState& saved);

// Resets the function by function level reset, like pci_reset_function(). It
// saves the state, silences the function, resets it (pcie_flr() or
// pci_af_flr()), waits for it and restores the state. MSI and MSI-X must be
// off. Returns NotFound if the function has no function level reset.
absl::Status PciResetFunction(LinuxPciDevice& device);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_CORE_H_
