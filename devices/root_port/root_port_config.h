// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_CONFIG_H_
#define PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_CONFIG_H_

#include <cstdint>

#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/power_management.h"

// The configuration space of a root port, with its capabilities:
//   0x40  Power Management, which every PCI Express function has
//   0x48  MSI, one vector that can be masked
//   0x60  PCI Express, with a hot-plug slot

namespace passthru::root_port {

inline constexpr uint8_t kPowerManagementOffset = 0x40;
inline constexpr uint8_t kMsiOffset = 0x48;
inline constexpr uint8_t kPcieOffset = 0x60;

// The registers whose contents have effects.
inline constexpr auto kPowerControl =
    pci::PowerManagementCapability::kControlStatus.At(kPowerManagementOffset);
inline constexpr auto kLinkControl =
    pci::PcieCapability::kLinkControl.At(kPcieOffset);
inline constexpr auto kLinkStatus =
    pci::PcieCapability::kLinkStatus.At(kPcieOffset);
inline constexpr auto kSlotControl =
    pci::PcieCapability::kSlotControl.At(kPcieOffset);
inline constexpr auto kSlotStatus =
    pci::PcieCapability::kSlotStatus.At(kPcieOffset);

// What distinguishes the ports of a machine.
struct PortIdentity {
  uint8_t port_number = 0;   // Link Capabilities
  uint16_t slot_number = 0;  // Slot Capabilities, Physical Slot Number
  bool has_pin = false;      // whether the port has INTA
};

// Returns the configuration space as it is after power-on with an empty slot,
// with the bits that a guest can write. All windows are closed.
pci::ConfigSpace MakeRootPortConfig(const PortIdentity& identity);

}  // namespace passthru::root_port

#endif  // PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_CONFIG_H_
