// SPDX-License-Identifier: Apache-2.0
// The part of FakeConfig for COMMAND and the BARs of the standard header.
#include <linux/pci_regs.h>

#include "passthru/pci/bar_index.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/vfio/fake_config.h"

namespace passthru::fake {
namespace {

constexpr uint16_t BarOffset(unsigned bar) {
  return bar == pci::BarIndex::kRomValue
             ? uint16_t{PCI_ROM_ADDRESS}
             : static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar);
}

}  // namespace

// Writes like vfio_basic_config_write().
void FakeConfig::WriteHeader(const Piece& piece, uint32_t value) {
  constexpr uint32_t kDecode = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
  if (piece.offset == PCI_COMMAND) {
    // If the user enables what it already sees as on while the hardware has it
    // off, the function was reset without the kernel.
    const uint32_t physical = options_.hardware->ReadConfig(PCI_COMMAND, 2);
    const uint32_t seen = Virtual(PCI_COMMAND, 2);
    if ((value & seen & ~physical & kDecode) != 0 || BarsWereLost()) {
      RestoreBars();
    }
  }
  WriteMasked(piece, value);
  if (piece.offset == PCI_COMMAND) {
    SetVirtual(PCI_COMMAND, 2,
               (Virtual(PCI_COMMAND, 2) & ~kDecode) | (value & kDecode));
  }
  if (piece.offset == PCI_COMMAND || piece.offset == PCI_COMMAND + 1) {
    options_.irqs->SetVirtualIntxDisable(
        (Virtual(PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE) != 0);
  }
}

// Makes the kernel's copy look like sized BARs, as vfio_bar_fixup() does.
void FakeConfig::FixUpBars() {
  for (unsigned bar = 0; bar < pci::kType0BarCount; ++bar) {
    const uint64_t size = options_.bar_sizes[bar];
    const uint16_t offset = BarOffset(bar);
    if (size == 0) {
      SetVirtual(offset, 4, 0);
      continue;
    }
    const uint64_t mask = ~(size - 1);
    const uint32_t type = options_.bar_types[bar];
    const bool io = (type & PCI_BASE_ADDRESS_SPACE_IO) != 0;
    const uint32_t flags = io ? uint32_t{PCI_BASE_ADDRESS_SPACE_IO}
                              : type & (PCI_BASE_ADDRESS_MEM_TYPE_64 |
                                        PCI_BASE_ADDRESS_MEM_PREFETCH);
    SetVirtual(offset, 4,
               (Virtual(offset, 4) & static_cast<uint32_t>(mask)) | flags);
    if (!io && (type & PCI_BASE_ADDRESS_MEM_TYPE_64) != 0 &&
        bar + 1 < pci::kType0BarCount) {
      ++bar;
      const uint16_t upper = BarOffset(bar);
      SetVirtual(upper, 4,
                 Virtual(upper, 4) & static_cast<uint32_t>(mask >> 32));
    }
  }
  const uint64_t rom = options_.bar_sizes[pci::BarIndex::kRomValue];
  const uint32_t rom_mask =
      rom == 0 ? 0 : static_cast<uint32_t>(~(rom - 1)) | PCI_ROM_ADDRESS_ENABLE;
  SetVirtual(PCI_ROM_ADDRESS, 4, Virtual(PCI_ROM_ADDRESS, 4) & rom_mask);
}

bool FakeConfig::BarsWereLost() const {
  for (unsigned bar = 0; bar < pci::kType0BarCount; ++bar) {
    if (real_bars_[bar] != 0 &&
        options_.hardware->ReadConfig(BarOffset(bar), 4) != real_bars_[bar]) {
      return true;
    }
  }
  return false;
}

void FakeConfig::RestoreBars() {
  if (options_.layout.is_virtual_function) return;
  for (unsigned bar = 0; bar <= pci::BarIndex::kRomValue; ++bar) {
    options_.hardware->WriteConfig(BarOffset(bar), 4, real_bars_[bar]);
  }
}

}  // namespace passthru::fake
