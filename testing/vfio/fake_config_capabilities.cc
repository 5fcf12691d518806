// SPDX-License-Identifier: Apache-2.0
// The part of FakeConfig for capabilities in which a write has an effect.
#include <linux/pci_regs.h>

#include <algorithm>
#include <bit>

#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/vfio/fake_config.h"

namespace passthru::fake {
namespace {

// Returns whether a piece of the structure covers the byte at `offset`.
constexpr bool Covers(uint16_t at, unsigned width, uint16_t offset) {
  return at <= offset && offset < at + width;
}

constexpr uint16_t At(uint16_t start, unsigned offset) {
  return static_cast<uint16_t>(start + offset);
}

}  // namespace

// As in vfio_pm_config_write(), a write does not reach the state bits. The
// kernel changes the state itself.
void FakeConfig::WritePowerManagement(const Piece& piece, uint32_t value) {
  WriteMasked(piece, value);
  if (piece.offset != PCI_PM_CTRL) return;
  SetPowerState(value & PCI_PM_CTRL_STATE_MASK);
}

void FakeConfig::SetPowerState(unsigned state) {
  HardwareFunction& hardware = *options_.hardware;
  const unsigned old = hardware.power_state();
  if (state == old) return;
  const uint32_t pmc = hardware.ReadConfig(
      At(*hardware.capabilities().power_management, PCI_PM_PMC), 2);
  // pci_set_power_state() refuses a state that the function does not support.
  // It also leaves a deeper state only for D0.
  if ((state == 1 && (pmc & PCI_PM_CAP_D1) == 0) ||
      (state == 2 && (pmc & PCI_PM_CAP_D2) == 0) ||
      (state != 0 && old > state)) {
    return;
  }
  if (state == 3 && hardware.soft_resets()) {
    saved_at_d3_ = hardware.SaveState();
  }
  if (state == 0) {
    hardware.ReturnToD0();
  } else {
    hardware.SetPowerState(state);
  }
  if (old == 3 && state == 0 && saved_at_d3_.has_value()) {
    hardware.RestoreState(*saved_at_d3_);
    saved_at_d3_.reset();
    options_.irqs->RestoreAfterReset();
  }
}

// As in vfio_vpd_config_write(), writing the flag does the access at once.
void FakeConfig::WriteVpd(const Piece& piece, uint32_t value) {
  WriteMasked(piece, value);
  if (!Covers(piece.offset, piece.width, PCI_VPD_ADDR + 1)) return;
  const uint16_t address_at = At(piece.byte->start, PCI_VPD_ADDR);
  const uint16_t data_at = At(piece.byte->start, PCI_VPD_DATA);
  const uint32_t address = Virtual(address_at, 2);
  const size_t offset = address & PCI_VPD_ADDR_MASK;
  // For an address that is unaligned or beyond the data, the flag stays, and so
  // drivers time out.
  if (offset + 4 > options_.vpd.size() || offset % 4 != 0) return;
  if ((address & PCI_VPD_ADDR_F) != 0) {
    const uint32_t data = Virtual(data_at, 4);
    for (unsigned i = 0; i < 4; ++i) {
      options_.vpd[offset + i] = static_cast<uint8_t>(data >> (8 * i));
    }
  } else {
    SetVirtual(data_at, 4, fixture::ReadLe32(options_.vpd, offset));
  }
  SetVirtual(address_at, 2, address ^ PCI_VPD_ADDR_F);
}

void FakeConfig::ReadMsi(const Piece& piece) {
  if (options_.msi_control_reads_back ||
      !Covers(piece.offset, piece.width, PCI_MSI_FLAGS)) {
    return;
  }
  const uint16_t at = At(piece.byte->start, PCI_MSI_FLAGS);
  const uint32_t flags = Virtual(at, 2) & ~uint32_t{PCI_MSI_FLAGS_QMASK};
  SetVirtual(at, 2, flags | options_.irqs->msi_queue_max() << 1);
}

// As in vfio_msi_config_write(), the enable bit reaches the hardware only if
// the user has enabled MSI by ioctl.
void FakeConfig::WriteMsi(const Piece& piece, uint32_t value) {
  WriteMasked(piece, value);
  // As in the kernel, this includes a piece that ends directly before the
  // control word.
  if (piece.offset > PCI_MSI_FLAGS ||
      piece.offset + piece.width < PCI_MSI_FLAGS) {
    return;
  }
  const uint16_t at = At(piece.byte->start, PCI_MSI_FLAGS);
  uint32_t flags = Virtual(at, 2);
  if (!options_.irqs->msi_is_on()) flags &= ~uint32_t{PCI_MSI_FLAGS_ENABLE};
  if ((flags & PCI_MSI_FLAGS_QSIZE) >> 4 > options_.irqs->msi_queue_max()) {
    flags &= ~uint32_t{PCI_MSI_FLAGS_QSIZE};
    flags |= options_.irqs->msi_queue_max() << 4;
  }
  SetVirtual(at, 2, flags);
  options_.hardware->WriteConfig(at, 2, flags);
}

// Writes like vfio_exp_config_write().
void FakeConfig::WriteExpress(const Piece& piece, uint32_t value) {
  const uint16_t control_at = At(piece.byte->start, PCI_EXP_DEVCTL);
  const uint32_t old = Virtual(control_at, 2);
  WriteMasked(piece, value);
  uint32_t control = Virtual(control_at, 2);
  if ((control & PCI_EXP_DEVCTL_BCR_FLR) != 0) {
    control &= ~uint32_t{PCI_EXP_DEVCTL_BCR_FLR};
    SetVirtual(control_at, 2, control);
    const uint32_t capabilities =
        options_.hardware->ReadConfig(At(piece.byte->start, PCI_EXP_DEVCAP), 4);
    if ((capabilities & PCI_EXP_DEVCAP_FLR) != 0) options_.reset_function();
  }
  if (((old ^ control) & PCI_EXP_DEVCTL_READRQ) != 0) {
    SetReadRequestSize(control_at);
  }
}

// A guest may lower the maximum read request, but not below the maximum payload
// that the host set.
void FakeConfig::SetReadRequestSize(uint16_t control_offset) {
  const uint32_t wanted =
      (Virtual(control_offset, 2) & PCI_EXP_DEVCTL_READRQ) >> 12;
  uint32_t control = options_.hardware->ReadConfig(control_offset, 2);
  const uint32_t payload = (control & PCI_EXP_DEVCTL_PAYLOAD) >> 5;
  control &= ~uint32_t{PCI_EXP_DEVCTL_READRQ};
  // pcie_set_readrq() refuses more than 4096 bytes.
  const uint32_t encoded = std::max(wanted, payload);
  if (encoded > 5) return;
  options_.hardware->WriteConfig(control_offset, 2, control | encoded << 12);
}

// Writes like vfio_af_config_write().
void FakeConfig::WriteAdvancedFeatures(const Piece& piece, uint32_t value) {
  WriteMasked(piece, value);
  const uint16_t control_at = At(piece.byte->start, PCI_AF_CTRL);
  if ((Virtual(control_at, 1) & PCI_AF_CTRL_FLR) == 0) return;
  SetVirtual(control_at, 1,
             Virtual(control_at, 1) & ~uint32_t{PCI_AF_CTRL_FLR});
  const uint32_t capabilities =
      options_.hardware->ReadConfig(At(piece.byte->start, PCI_AF_CAP), 1);
  constexpr uint32_t kBoth = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
  if ((capabilities & kBoth) == kBoth) options_.reset_function();
}

}  // namespace passthru::fake
