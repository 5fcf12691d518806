// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_ACPI_TABLES_H_
#define PASSTHRU_VMM_ACPI_TABLES_H_

#include <cstdint>
#include <vector>

namespace passthru::vmm::acpi {

// What the tables say beyond guest_layout.h.
struct TableOptions {
  // The vCPUs, whose APIC IDs count from 0. At most 255.
  unsigned vcpu_count = 1;
  // The PCI buses that the guest may use, from 0 on. Linux looks for devices on
  // each of them (pcibios_fixup_peer_bridges()), which takes 64 exits for a
  // bus.
  unsigned bus_count = 256;
  // The window of 64-bit BARs, [base, end). None if it is empty.
  uint64_t memory64_base = 0;
  uint64_t memory64_end = 0;
};

// Returns the ACPI tables, to be copied to the guest address `base`, which is a
// multiple of 64 below 4 GiB. The RSDP comes first. XSDT, FADT, FACS, MADT,
// MCFG and DSDT follow (ACPI 6.5, chapter 5).
//
// The hardware is not "reduced", because hardware-reduced guests do without the
// timer (PIT) with which they calibrate their clocks under emulation.
std::vector<uint8_t> BuildTables(uint64_t base, const TableOptions& options);

}  // namespace passthru::vmm::acpi

#endif  // PASSTHRU_VMM_ACPI_TABLES_H_
