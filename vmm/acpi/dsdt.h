// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_ACPI_DSDT_H_
#define PASSTHRU_VMM_ACPI_DSDT_H_

#include "passthru/vmm/acpi/aml.h"
#include "passthru/vmm/acpi/tables.h"

namespace passthru::vmm::acpi {

// Returns the definition block of the machine (guest_layout.h), without the
// table's header. It has
//  - the PCI host bridge with its windows (_CRS), the GSIs of the interrupt
//  pins
//    (_PRT), and _OSC, which lets the guest's kernel control native hot plug,
//    power management events, error reporting and the PCI Express capability,
//  - the ECAM region as a motherboard resource, so that the guest trusts it,
//  - the serial port,
//  - _S5, which turns the power off.
Aml MachineDefinition(const TableOptions& options);

}  // namespace passthru::vmm::acpi

#endif  // PASSTHRU_VMM_ACPI_DSDT_H_
