// SPDX-License-Identifier: Apache-2.0
//
// HardwareFunction's power states, its reset, and what Linux saves and restores
// around one.
#include <linux/pci_regs.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/vfio/hardware_function.h"

namespace passthru::fake {
namespace {

// Returns what pcie_cap_has_lnkctl() does, for a function that is no port.
bool HasLinkRegisters(uint16_t express_flags) {
  const unsigned type = (express_flags & PCI_EXP_FLAGS_TYPE) >> 4;
  return type != PCI_EXP_TYPE_RC_END && type != PCI_EXP_TYPE_RC_EC;
}

// Returns the offset of the first extended capability `id`, or 0. The walk is
// bounded by the size of the space.
size_t FindExtendedCapability(absl::Span<const uint8_t> config, uint16_t id) {
  constexpr size_t kStart = 256;
  size_t at = kStart;
  for (size_t walked = 0;
       at >= kStart && at + 4 <= config.size() && walked < config.size() / 4;
       ++walked) {
    const uint32_t header = fixture::ReadLe32(config, at);
    if (PCI_EXT_CAP_ID(header) == id) return at;
    at = PCI_EXT_CAP_NEXT(header);
  }
  return 0;
}

}  // namespace

unsigned HardwareFunction::power_state() const {
  if (!capabilities_.power_management.has_value()) return 0;
  return fixture::ReadLe16(config_,
                           *capabilities_.power_management + PCI_PM_CTRL) &
         PCI_PM_CTRL_STATE_MASK;
}

void HardwareFunction::SetPowerState(unsigned state) {
  if (!capabilities_.power_management.has_value()) return;
  const uint16_t at =
      static_cast<uint16_t>(*capabilities_.power_management + PCI_PM_CTRL);
  const uint32_t pmcsr = ReadConfig(at, 2);
  WriteConfig(at, 2, (pmcsr & ~uint32_t{PCI_PM_CTRL_STATE_MASK}) | state);
}

bool HardwareFunction::soft_resets() const {
  return capabilities_.power_management.has_value() &&
         (fixture::ReadLe16(config_,
                            *capabilities_.power_management + PCI_PM_CTRL) &
          PCI_PM_CTRL_NO_SOFT_RESET) == 0;
}

void HardwareFunction::ReturnToD0() {
  if (power_state() == 0) return;
  const std::vector<uint8_t> saved = SaveState();
  SetPowerState(0);
  for (unsigned bar = 0; bar < kBars; ++bar) {
    const uint16_t at = static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar);
    WriteConfig(at, 4, fixture::ReadLe32(saved, at));
  }
}

void HardwareFunction::Reset(models::ResetKind kind) {
  dead_ = dead_ || dies_at_reset_;
  for (size_t i = 0; i < config_.size(); ++i) {
    if (!undefined_[i]) config_[i] = image_.bytes[i];
  }
  // The image comes from a function that a host was using.
  const auto clear = [this](size_t offset, size_t size) {
    for (size_t i = 0; i < size && offset + i < config_.size(); ++i) {
      config_[offset + i] = static_cast<uint8_t>(config_[offset + i] &
                                                 ~image_.writable[offset + i]);
    }
  };
  clear(PCI_COMMAND, 2);
  clear(PCI_CACHE_LINE_SIZE, 1);
  clear(PCI_BASE_ADDRESS_0, 4 * kBars);
  clear(PCI_ROM_ADDRESS, 4);
  clear(PCI_INTERRUPT_LINE, 1);
  if (capabilities_.msi.has_value()) {
    clear(*capabilities_.msi + PCI_MSI_FLAGS, 2);
  }
  if (capabilities_.msix.has_value()) {
    clear(*capabilities_.msix + PCI_MSIX_FLAGS, 2);
  }
  if (capabilities_.power_management.has_value()) {
    clear(*capabilities_.power_management + PCI_PM_CTRL, 2);
  }
  SetIntxLevel(false);
  msix_masked_.assign(msix_vectors(), true);
  // FillBars() clears them where software reads them.
  msix_pending_.assign(msix_vectors(), false);
  FillBars();
  if (model_ != nullptr) model_->Reset(kind);
  for (const auto& registers : ReachableRegisters()) registers->Reset();
}

void HardwareFunction::RestoreState(absl::Span<const uint8_t> saved) {
  const auto restore = [&](size_t offset, unsigned width) {
    if (offset + width > saved.size()) return;
    WriteConfig(
        static_cast<uint16_t>(offset), width,
        fixture::ReadLe32(saved, offset) & (~uint32_t{0} >> (32 - 8 * width)));
  };
  if (capabilities_.express.has_value()) {
    const size_t at = *capabilities_.express;
    const uint16_t flags = fixture::ReadLe16(image_.bytes, at + PCI_EXP_FLAGS);
    // Another capability may begin where a register would be that the version
    // or type lacks, so the kernel asks pcie_capability_reg_implemented().
    restore(at + PCI_EXP_DEVCTL, 2);
    if (HasLinkRegisters(flags)) restore(at + PCI_EXP_LNKCTL, 2);
    if ((flags & PCI_EXP_FLAGS_VERS) > 1) restore(at + PCI_EXP_DEVCTL2, 2);
  }
  // As in pci_restore_aer_state().
  if (const size_t at =
          FindExtendedCapability(image_.bytes, PCI_EXT_CAP_ID_ERR);
      at != 0 && capabilities_.express.has_value()) {
    constexpr size_t kSaved[] = {PCI_ERR_UNCOR_MASK, PCI_ERR_UNCOR_SEVER,
                                 PCI_ERR_COR_MASK, PCI_ERR_CAP};
    for (const size_t offset : kSaved) {
      restore(at + offset, 4);
    }
  }
  // Restores from the end, so that decoding is not on before the BARs have
  // addresses.
  for (unsigned offset = PCI_STD_HEADER_SIZEOF - 4;
       offset >= PCI_CLASS_REVISION; offset -= 4) {
    restore(offset, 4);
  }
  restore(PCI_COMMAND, 2);
  if (capabilities_.msi.has_value()) {
    const size_t at = *capabilities_.msi;
    const uint16_t flags = fixture::ReadLe16(image_.bytes, at + PCI_MSI_FLAGS);
    restore(at + PCI_MSI_ADDRESS_LO, 4);
    // A 32-bit capability ends earlier (__pci_write_msi_msg()).
    if ((flags & PCI_MSI_FLAGS_64BIT) != 0) {
      restore(at + PCI_MSI_ADDRESS_HI, 4);
      restore(at + PCI_MSI_DATA_64, 2);
    } else {
      restore(at + PCI_MSI_DATA_32, 2);
    }
    restore(at + PCI_MSI_FLAGS, 2);
  }
  if (capabilities_.msix.has_value()) {
    restore(*capabilities_.msix + PCI_MSIX_FLAGS, 2);
  }
}

}  // namespace passthru::fake
