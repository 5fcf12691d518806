// SPDX-License-Identifier: Apache-2.0
//
// HardwareFunction's side of interrupts: the mask and pending bits of MSI and
// MSI-X, and the level of the pin.
#include <linux/pci_regs.h>

#include <cstdint>

#include "absl/types/span.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/vfio/hardware_function.h"

namespace passthru::fake {
namespace {

constexpr uint16_t kPendingEntries = 64;  // In each qword of the PBA.

}  // namespace

bool HardwareFunction::has_msi_mask_bits() const {
  return capabilities_.msi.has_value() &&
         (fixture::ReadLe16(image_.bytes, *capabilities_.msi + PCI_MSI_FLAGS) &
          PCI_MSI_FLAGS_MASKBIT) != 0;
}

uint16_t HardwareFunction::msi_mask_offset() const {
  const uint16_t flags =
      fixture::ReadLe16(image_.bytes, *capabilities_.msi + PCI_MSI_FLAGS);
  return static_cast<uint16_t>(
      *capabilities_.msi +
      ((flags & PCI_MSI_FLAGS_64BIT) != 0 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32));
}

bool HardwareFunction::msi_masked(uint16_t vector) const {
  return has_msi_mask_bits() &&
         (ReadConfig(msi_mask_offset(), 4) >> (vector % 32) & 1) != 0;
}

void HardwareFunction::SetMsiMasked(uint16_t vector, bool masked) {
  if (!has_msi_mask_bits()) return;
  const uint32_t bit = uint32_t{1} << (vector % 32);
  const uint32_t mask = ReadConfig(msi_mask_offset(), 4);
  WriteConfig(msi_mask_offset(), 4, masked ? mask | bit : mask & ~bit);
}

// The pending register follows the mask register, and only the device writes
// it.
void HardwareFunction::SetMsiPending(uint16_t vector) {
  uint8_t& pending = config_[msi_mask_offset() + 4u + vector % 32 / 8];
  pending = static_cast<uint8_t>(pending | 1u << (vector % 8));
}

void HardwareFunction::SendPendingMsi() {
  for (uint16_t vector = 0; vector < 32; ++vector) {
    uint8_t& pending = config_[msi_mask_offset() + 4u + vector / 8];
    const uint8_t bit = static_cast<uint8_t>(1u << (vector % 8));
    if ((pending & bit) == 0 || msi_masked(vector)) continue;
    pending = static_cast<uint8_t>(pending & ~bit);
    if (on_msi_unmasked_ != nullptr) on_msi_unmasked_(vector);
  }
}

void HardwareFunction::SetIntxLevel(bool asserted) {
  intx_level_ = asserted;
  uint8_t& status = config_[PCI_STATUS];
  status = static_cast<uint8_t>(asserted ? status | PCI_STATUS_INTERRUPT
                                         : status & ~PCI_STATUS_INTERRUPT);
}

bool HardwareFunction::msix_table_has_bar() const {
  return capabilities_.msix.has_value() &&
         bar_size(fixture::ReadLe32(image_.bytes,
                                    *capabilities_.msix + PCI_MSIX_TABLE) &
                  PCI_MSIX_TABLE_BIR) != 0;
}

bool HardwareFunction::SetMsixMasked(uint16_t vector, bool masked) {
  msix_masked_[vector] = masked;
  if (masked || !msix_pending_[vector]) return false;
  SetMsixPending(vector, false);
  return true;
}

void HardwareFunction::SetMsixPending(uint16_t vector, bool pending) {
  msix_pending_[vector] = pending;
  // The pending bit array is memory of the function, which software may read.
  const uint32_t pba =
      ReadConfig(static_cast<uint16_t>(*capabilities_.msix + PCI_MSIX_PBA), 4);
  const unsigned bar = pba & PCI_MSIX_PBA_BIR;
  if (bar_size(bar) == 0) return;
  const uint64_t offset = (pba & PCI_MSIX_PBA_OFFSET) +
                          vector / kPendingEntries * 8 +
                          vector % kPendingEntries / 8;
  uint8_t bits = 0;
  bars_[bar]->Read(offset, absl::MakeSpan(&bits, 1));
  const uint8_t bit = static_cast<uint8_t>(1u << (vector % 8));
  bits = static_cast<uint8_t>(pending ? bits | bit : bits & ~bit);
  bars_[bar]->Write(offset, absl::MakeConstSpan(&bits, 1));
}

}  // namespace passthru::fake
