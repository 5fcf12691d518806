// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_PCI_ALLOC_IRQ_VECTORS_H_
#define PASSTHRU_TESTING_GUEST_LINUX_PCI_ALLOC_IRQ_VECTORS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {

// Allocates between `minimum` and `maximum` vectors, as many as the function
// has, like pci_alloc_irq_vectors(PCI_IRQ_MSIX | PCI_IRQ_MSI). Uses MSI only if
// the function does not have `minimum` MSI-X vectors.
absl::StatusOr<std::unique_ptr<LinuxIrqVectors>> PciAllocIrqVectors(
    const IrqContext& context, LinuxPciDevice& device, uint16_t minimum,
    uint16_t maximum);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_PCI_ALLOC_IRQ_VECTORS_H_
