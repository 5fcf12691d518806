// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_core.h"

#include <linux/pci_regs.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

// How often the guest reads a register while the function recovers. The kernel
// waits up to a minute, with growing pauses, but a guest here cannot wait.
constexpr int kMaxLooks = 1000;

void SetCommand(LinuxPciDevice& device, uint16_t set, uint16_t clear) {
  const uint16_t before = device.ReadWord(PCI_COMMAND);
  const uint16_t after = static_cast<uint16_t>((before & ~clear) | set);
  if (after != before) device.WriteWord(PCI_COMMAND, after);
}

// Gives conventional devices a latency timer, like pcibios_set_master().
void SetLatencyTimer(LinuxPciDevice& device) {
  if (device.info.pcie) return;
  constexpr uint8_t kMinimum = 16;
  constexpr uint8_t kDefault = 64;
  if (device.ReadByte(PCI_LATENCY_TIMER) < kMinimum) {
    device.WriteByte(PCI_LATENCY_TIMER, kDefault);
  }
}

// Waits until the function answers configuration reads again, like
// pci_dev_wait().
absl::Status WaitForDevice(const LinuxPciDevice& device) {
  for (int i = 0; i < kMaxLooks; ++i) {
    if (device.ReadDword(PCI_COMMAND) != 0xffffffff) return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("guest: ", device.name(), ": not ready after reset"));
}

// Mirrors pcie_flr() and pci_af_flr().
absl::Status FunctionLevelReset(LinuxPciDevice& device) {
  const uint16_t express = device.FindCapability(PCI_CAP_ID_EXP);
  if (express != 0 &&
      (device.ReadDword(express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR) != 0) {
    for (int i = 0; i < kMaxLooks; ++i) {
      const uint16_t status = device.ReadWord(express + PCI_EXP_DEVSTA);
      if ((status & PCI_EXP_DEVSTA_TRPND) == 0) break;
    }
    const uint16_t control = device.ReadWord(express + PCI_EXP_DEVCTL);
    device.WriteWord(express + PCI_EXP_DEVCTL,
                     static_cast<uint16_t>(control | PCI_EXP_DEVCTL_BCR_FLR));
    return WaitForDevice(device);
  }
  const uint16_t af = device.FindCapability(PCI_CAP_ID_AF);
  if (af != 0) {
    const uint8_t cap = device.ReadByte(af + PCI_AF_CAP);
    if ((cap & PCI_AF_CAP_FLR) != 0 && (cap & PCI_AF_CAP_TP) != 0) {
      device.WriteByte(af + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
      return WaitForDevice(device);
    }
  }
  return absl::NotFoundError(
      absl::StrCat("guest: ", device.name(), " has no function level reset"));
}

}  // namespace

absl::Status PciEnableDevice(LinuxPciDevice& device) {
  absl::Status power = PciSetPowerState(device, PciPowerState::kD0);
  if (!power.ok() && !absl::IsNotFound(power)) return power;
  uint16_t decode = 0;
  for (const GuestBar& bar : device.info.bars) {
    if (bar.is_rom()) continue;
    decode |= bar.is_io() ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
  }
  SetCommand(device, decode, 0);
  if (device.msi_enabled || device.msix_enabled) return absl::OkStatus();
  if (device.ReadByte(PCI_INTERRUPT_PIN) != 0) {
    SetCommand(device, 0, PCI_COMMAND_INTX_DISABLE);
  }
  return absl::OkStatus();
}

void PciDisableDevice(LinuxPciDevice& device) { PciClearMaster(device); }

void PciSetMaster(LinuxPciDevice& device) {
  SetCommand(device, PCI_COMMAND_MASTER, 0);
  SetLatencyTimer(device);
}

void PciClearMaster(LinuxPciDevice& device) {
  SetCommand(device, 0, PCI_COMMAND_MASTER);
}

void PciIntx(LinuxPciDevice& device, bool enable) {
  if (enable) {
    SetCommand(device, 0, PCI_COMMAND_INTX_DISABLE);
  } else {
    SetCommand(device, PCI_COMMAND_INTX_DISABLE, 0);
  }
}

absl::Status PciSetPowerState(LinuxPciDevice& device, PciPowerState state) {
  const uint16_t pm = device.FindCapability(PCI_CAP_ID_PM);
  if (pm == 0) {
    return absl::NotFoundError(
        absl::StrCat("guest: ", device.name(), " has no power management"));
  }
  const uint16_t wanted = static_cast<uint16_t>(state);
  const uint16_t before = device.ReadWord(pm + PCI_PM_CTRL);
  if ((before & PCI_PM_CTRL_STATE_MASK) == wanted) return absl::OkStatus();
  device.WriteWord(
      pm + PCI_PM_CTRL,
      static_cast<uint16_t>((before & ~PCI_PM_CTRL_STATE_MASK) | wanted));
  const uint16_t after = device.ReadWord(pm + PCI_PM_CTRL);
  if ((after & PCI_PM_CTRL_STATE_MASK) != wanted) {
    return absl::UnavailableError(
        absl::StrCat("guest: ", device.name(), ": refused to change to D",
                     wanted, ", still in D", after & PCI_PM_CTRL_STATE_MASK));
  }
  return absl::OkStatus();
}

PciSavedState PciSaveState(const LinuxPciDevice& device) {
  PciSavedState saved;
  for (uint16_t i = 0; i < 16; ++i) saved.header[i] = device.ReadDword(4 * i);
  if (uint16_t express = device.FindCapability(PCI_CAP_ID_EXP); express != 0) {
    saved.device_control = device.ReadWord(express + PCI_EXP_DEVCTL);
  }
  return saved;
}

void PciRestoreState(LinuxPciDevice& device, const PciSavedState& saved) {
  if (uint16_t express = device.FindCapability(PCI_CAP_ID_EXP); express != 0) {
    device.WriteWord(express + PCI_EXP_DEVCTL, saved.device_control);
  }
  for (int i = 15; i >= 0; --i) {
    const uint16_t at = static_cast<uint16_t>(4 * i);
    if (device.ReadDword(at) != saved.header[i]) {
      device.WriteDword(at, saved.header[i]);
    }
  }
}

absl::Status PciResetFunction(LinuxPciDevice& device) {
  if (device.msi_enabled || device.msix_enabled) {
    return absl::FailedPreconditionError(absl::StrCat(
        "guest: ", device.name(), ": message interrupts are still enabled"));
  }
  // Clears the command register except for the interrupt disable bit, which it
  // sets, like pci_dev_save_and_disable().
  absl::Status power = PciSetPowerState(device, PciPowerState::kD0);
  if (!power.ok() && !absl::IsNotFound(power)) return power;
  const PciSavedState saved = PciSaveState(device);
  device.WriteWord(PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
  absl::Status reset = FunctionLevelReset(device);
  PciRestoreState(device, saved);
  return reset;
}

}  // namespace passthru::guest
