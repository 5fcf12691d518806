// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_ACPI_RESOURCES_H_
#define PASSTHRU_VMM_ACPI_RESOURCES_H_

#include <cstdint>
#include <vector>

#include "passthru/vmm/acpi/aml.h"

namespace passthru::vmm::acpi {

// Resource descriptors, as in a _CRS (ACPI 6.5, 6.4).

// Returns a buffer with the descriptors and the end tag.
Aml ResourceTemplate(const std::vector<Aml>& descriptors);

// What a device uses itself. Irq() is edge-triggered.
Aml Io(uint16_t port, uint8_t size);
Aml Irq(unsigned number);
Aml Memory32Fixed(uint32_t base, uint32_t size);

// What a host bridge passes on to its bus, from `first` to `last`.
Aml WordBusNumber(uint16_t first, uint16_t last);
Aml WordIo(uint16_t first, uint16_t last);
Aml DWordMemory(uint32_t first, uint32_t last);
Aml QWordMemory(uint64_t first, uint64_t last);

}  // namespace passthru::vmm::acpi

#endif  // PASSTHRU_VMM_ACPI_RESOURCES_H_
