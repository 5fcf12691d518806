// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_msi.h"

#include <linux/pci_regs.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/log/check.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

uint16_t VectorsOf(uint16_t control) {
  return static_cast<uint16_t>(1 << ((control & PCI_MSI_FLAGS_QMASK) >> 1));
}

}  // namespace

uint16_t MsiVectorCount(const LinuxPciDevice& device) {
  const uint16_t at = device.FindCapability(PCI_CAP_ID_MSI);
  if (at == 0) return 0;
  // Six and seven are reserved encodings.
  const uint16_t count = VectorsOf(device.ReadWord(at + PCI_MSI_FLAGS));
  return count > 32 ? 0 : count;
}

LinuxMsi::LinuxMsi(const IrqContext& context, LinuxPciDevice& device,
                   uint16_t control, uint16_t vectors)
    : context_(context),
      device_(device),
      capability_(device.FindCapability(PCI_CAP_ID_MSI)),
      is_64bit_((control & PCI_MSI_FLAGS_64BIT) != 0),
      maskable_((control & PCI_MSI_FLAGS_MASKBIT) != 0),
      requested_(vectors) {}

absl::StatusOr<std::unique_ptr<LinuxMsi>> LinuxMsi::Enable(
    const IrqContext& context, LinuxPciDevice& device, uint16_t vectors) {
  if (device.msi_enabled || device.msix_enabled) {
    return absl::FailedPreconditionError(absl::StrCat(
        "guest: ", device.name(), ": message interrupts are enabled already"));
  }
  if (vectors == 0 || vectors > MsiVectorCount(device)) {
    return absl::OutOfRangeError(
        absl::StrCat("guest: ", device.name(), ": ", vectors, " MSI vectors"));
  }
  const uint16_t at = device.FindCapability(PCI_CAP_ID_MSI);
  const uint16_t control = device.ReadWord(at + PCI_MSI_FLAGS);
  auto msi = absl::WrapUnique(
      new LinuxMsi(context, device, control, std::bit_floor(vectors)));
  msi->SetEnable(false);
  device.msi_enabled = true;
  // All vectors are unmasked after a reset, so this masks them, as
  // msi_capability_init() does.
  const uint32_t all =
      msi->count() == 32 ? 0xffffffff : (uint32_t{1} << msi->count()) - 1;
  msi->SetMaskBits(all);
  msi->WriteMessage(context.messages->Placeholder());
  PciIntx(device, false);
  msi->SetEnable(true);
  return msi;
}

LinuxMsi::~LinuxMsi() {
  for (uint16_t i = 0; i < count(); ++i) {
    if (requested_[i]) context_.interrupts->Unregister(message(i));
  }
}

// Mirrors pci_msi_set_enable().
void LinuxMsi::SetEnable(bool enable) {
  const uint16_t control = device_.ReadWord(capability_ + PCI_MSI_FLAGS);
  const int value =
      (control & ~PCI_MSI_FLAGS_ENABLE) | (enable ? PCI_MSI_FLAGS_ENABLE : 0);
  device_.WriteWord(capability_ + PCI_MSI_FLAGS, static_cast<uint16_t>(value));
}

// Mirrors pci_msi_update_mask().
void LinuxMsi::SetMaskBits(uint32_t bits) {
  if (!maskable_) return;
  mask_bits_ = bits;
  const int offset = is_64bit_ ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
  device_.WriteDword(static_cast<uint16_t>(capability_ + offset), bits);
}

// Mirrors pci_write_msg_msi().
void LinuxMsi::WriteMessage(const GuestMessage& message) {
  const uint16_t control = device_.ReadWord(capability_ + PCI_MSI_FLAGS);
  const int log2 = std::countr_zero(count());
  device_.WriteWord(
      capability_ + PCI_MSI_FLAGS,
      static_cast<uint16_t>((control & ~PCI_MSI_FLAGS_QSIZE) | log2 << 4));
  device_.WriteDword(capability_ + PCI_MSI_ADDRESS_LO,
                     static_cast<uint32_t>(message.address));
  const uint16_t data = static_cast<uint16_t>(message.data);
  if (is_64bit_) {
    device_.WriteDword(capability_ + PCI_MSI_ADDRESS_HI,
                       static_cast<uint32_t>(message.address >> 32));
    device_.WriteWord(capability_ + PCI_MSI_DATA_64, data);
  } else {
    device_.WriteWord(capability_ + PCI_MSI_DATA_32, data);
  }
  // The read makes sure that the writes have reached the device.
  device_.ReadWord(capability_ + PCI_MSI_FLAGS);
}

absl::Status LinuxMsi::Request(uint16_t vector, std::string_view name,
                               std::function<void()> handler) {
  CHECK_LT(vector, count());
  if (!has_messages_) {
    PASSTHRU_ASSIGN_OR_RETURN(const GuestMessage base,
                              context_.messages->Allocate(count()));
    base_ = base;
    has_messages_ = true;
    WriteMessage(base_);
  }
  PASSTHRU_RETURN_IF_ERROR(
      context_.interrupts->Register(message(vector), name, std::move(handler)));
  requested_[vector] = true;
  Unmask(vector);
  return absl::OkStatus();
}

void LinuxMsi::Release(uint16_t vector) {
  CHECK_LT(vector, count());
  if (!requested_[vector]) return;
  Mask(vector);
  context_.interrupts->Unregister(message(vector));
  requested_[vector] = false;
}

void LinuxMsi::Mask(uint16_t vector) {
  SetMaskBits(mask_bits_ | uint32_t{1} << vector);
}

void LinuxMsi::Unmask(uint16_t vector) {
  SetMaskBits(mask_bits_ & ~(uint32_t{1} << vector));
}

// Mirrors pci_msi_shutdown().
void LinuxMsi::Free() {
  if (!device_.msi_enabled) return;
  for (uint16_t i = 0; i < count(); ++i) Release(i);
  SetEnable(false);
  PciIntx(device_, true);
  device_.msi_enabled = false;
  // Unmasking restores the state after reset.
  SetMaskBits(0);
}

GuestMessage LinuxMsi::message(uint16_t vector) const {
  CHECK_LT(vector, count());
  return {base_.address, base_.data + vector};
}

}  // namespace passthru::guest
