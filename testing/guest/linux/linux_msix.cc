// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_msix.h"

#include <linux/pci_regs.h>

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
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

uint16_t TableSize(uint16_t control) {
  return static_cast<uint16_t>((control & PCI_MSIX_FLAGS_QSIZE) + 1);
}

}  // namespace

uint16_t MsixVectorCount(const LinuxPciDevice& device) {
  const uint16_t at = device.FindCapability(PCI_CAP_ID_MSIX);
  return at == 0 ? 0 : TableSize(device.ReadWord(at + PCI_MSIX_FLAGS));
}

LinuxMsix::LinuxMsix(const IrqContext& context, LinuxPciDevice& device,
                     uint16_t vectors)
    : context_(context),
      device_(device),
      capability_(device.FindCapability(PCI_CAP_ID_MSIX)),
      vectors_(vectors) {}

absl::StatusOr<std::unique_ptr<LinuxMsix>> LinuxMsix::Enable(
    const IrqContext& context, LinuxPciDevice& device, uint16_t vectors) {
  if (device.msi_enabled || device.msix_enabled) {
    return absl::FailedPreconditionError(absl::StrCat(
        "guest: ", device.name(), ": message interrupts are enabled already"));
  }
  auto msix = absl::WrapUnique(new LinuxMsix(context, device, vectors));
  // Mirrors pci_msix_validate_entries() and pci_msix_vec_count().
  if (msix->capability_ == 0 || vectors == 0 ||
      vectors > MsixVectorCount(device)) {
    return absl::OutOfRangeError(absl::StrCat("guest: ", device.name(), ": ",
                                              vectors, " MSI-X vectors"));
  }
  PASSTHRU_RETURN_IF_ERROR(msix->MapTable());
  msix->Initialize();
  return msix;
}

LinuxMsix::~LinuxMsix() {
  for (const Vector& vector : vectors_) {
    if (vector.requested) context_.interrupts->Unregister(vector.message);
  }
}

// Mirrors msix_map_region(), which runs before the kernel changes anything.
absl::Status LinuxMsix::MapTable() {
  const uint32_t table = device_.ReadDword(capability_ + PCI_MSIX_TABLE);
  const uint32_t pba = device_.ReadDword(capability_ + PCI_MSIX_PBA);
  table_bar_ = static_cast<int>(table & PCI_MSIX_TABLE_BIR);
  table_offset_ = table & PCI_MSIX_TABLE_OFFSET;
  pba_bar_ = static_cast<int>(pba & PCI_MSIX_PBA_BIR);
  pba_offset_ = pba & PCI_MSIX_PBA_OFFSET;
  const GuestBar* bar = device_.FindBar(table_bar_);
  const uint64_t size =
      uint64_t{MsixVectorCount(device_)} * PCI_MSIX_ENTRY_SIZE;
  if (bar == nullptr || bar->is_io() || size > bar->size ||
      table_offset_ > bar->size - size) {
    return absl::OutOfRangeError(absl::StrCat(
        "guest: ", device_.name(), ": MSI-X table at BAR ", table_bar_,
        " offset ", table_offset_, " of ", size, " bytes is in no memory BAR"));
  }
  return absl::OkStatus();
}

void LinuxMsix::Initialize() {
  SetControl(0, PCI_MSIX_FLAGS_MASKALL | PCI_MSIX_FLAGS_ENABLE);
  device_.msix_enabled = true;
  table_size_ = TableSize(device_.ReadWord(capability_ + PCI_MSIX_FLAGS));
  for (uint16_t i = 0; i < count(); ++i) {
    // Mirrors msix_prepare_msi_desc() and the early activation in reservation
    // mode that follows it.
    vectors_[i].control = static_cast<uint32_t>(
        context_.cpu->Load(Entry(i) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4));
    WriteMessage(i, context_.messages->Placeholder());
  }
  PciIntx(device_, false);
  // Every entry is masked, also those without a vector, so that no stale entry
  // fires later, as msix_capability_init() does it.
  for (uint16_t i = 0; i < table_size_; ++i) {
    context_.cpu->Store(Entry(i) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
                        PCI_MSIX_ENTRY_CTRL_MASKBIT);
  }
  for (Vector& vector : vectors_) {
    vector.control |= PCI_MSIX_ENTRY_CTRL_MASKBIT;
  }
  SetControl(PCI_MSIX_FLAGS_MASKALL, 0);
}

// Mirrors pci_msix_clear_and_set_ctrl().
void LinuxMsix::SetControl(uint16_t clear, uint16_t set) {
  const uint16_t control = device_.ReadWord(capability_ + PCI_MSIX_FLAGS);
  device_.WriteWord(capability_ + PCI_MSIX_FLAGS,
                    static_cast<uint16_t>((control & ~clear) | set));
}

uint64_t LinuxMsix::Entry(uint16_t vector) const {
  // The BAR may have moved since. The kernel's mapping would not follow it, but
  // the kernel's drivers do not move BARs in use either.
  return device_.FindBar(table_bar_)->address + table_offset_ +
         uint64_t{vector} * PCI_MSIX_ENTRY_SIZE;
}

void LinuxMsix::WriteVectorControl(uint16_t vector, uint32_t control) {
  context_.cpu->Store(Entry(vector) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, control);
}

// Mirrors pci_write_msg_msix().
void LinuxMsix::WriteMessage(uint16_t vector, const GuestMessage& message) {
  const uint32_t control = vectors_[vector].control;
  // The specification demands that an entry is masked while its message
  // changes.
  const bool unmasked = (control & PCI_MSIX_ENTRY_CTRL_MASKBIT) == 0;
  if (unmasked) {
    WriteVectorControl(vector, control | PCI_MSIX_ENTRY_CTRL_MASKBIT);
  }
  const uint64_t entry = Entry(vector);
  context_.cpu->Store(entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4,
                      message.address & 0xffffffff);
  context_.cpu->Store(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4,
                      message.address >> 32);
  context_.cpu->Store(entry + PCI_MSIX_ENTRY_DATA, 4, message.data);
  if (unmasked) WriteVectorControl(vector, control);
  // The read makes sure that the writes have reached the device.
  context_.cpu->Load(entry + PCI_MSIX_ENTRY_DATA, 4);
  vectors_[vector].message = message;
}

absl::Status LinuxMsix::Request(uint16_t vector, std::string_view name,
                                std::function<void()> handler) {
  CHECK_LT(vector, count());
  PASSTHRU_ASSIGN_OR_RETURN(const GuestMessage message,
                            context_.messages->Allocate());
  PASSTHRU_RETURN_IF_ERROR(
      context_.interrupts->Register(message, name, std::move(handler)));
  WriteMessage(vector, message);
  vectors_[vector].requested = true;
  Unmask(vector);
  return absl::OkStatus();
}

void LinuxMsix::Release(uint16_t vector) {
  CHECK_LT(vector, count());
  if (!vectors_[vector].requested) return;
  Mask(vector);
  context_.interrupts->Unregister(vectors_[vector].message);
  vectors_[vector].requested = false;
}

// Mirrors pci_msix_mask(), whose read makes sure that the write has reached the
// device.
void LinuxMsix::Mask(uint16_t vector) {
  CHECK_LT(vector, count());
  vectors_[vector].control |= PCI_MSIX_ENTRY_CTRL_MASKBIT;
  WriteVectorControl(vector, vectors_[vector].control);
  context_.cpu->Load(Entry(0), 4);
}

void LinuxMsix::Unmask(uint16_t vector) {
  CHECK_LT(vector, count());
  vectors_[vector].control &= ~uint32_t{PCI_MSIX_ENTRY_CTRL_MASKBIT};
  WriteVectorControl(vector, vectors_[vector].control);
}

// Mirrors pci_msix_shutdown().
void LinuxMsix::Free() {
  if (!device_.msix_enabled) return;
  for (uint16_t i = 0; i < count(); ++i) Release(i);
  for (uint16_t i = 0; i < count(); ++i) Mask(i);
  SetControl(PCI_MSIX_FLAGS_ENABLE, 0);
  PciIntx(device_, true);
  device_.msix_enabled = false;
}

GuestMessage LinuxMsix::message(uint16_t vector) const {
  CHECK_LT(vector, count());
  return vectors_[vector].message;
}

void LinuxMsix::SetFunctionMask(bool masked) {
  if (masked) {
    SetControl(0, PCI_MSIX_FLAGS_MASKALL);
  } else {
    SetControl(PCI_MSIX_FLAGS_MASKALL, 0);
  }
}

bool LinuxMsix::Pending(uint16_t vector) const {
  const GuestBar* bar = device_.FindBar(pba_bar_);
  if (bar == nullptr) return false;
  const uint64_t word =
      context_.cpu->Load(bar->address + pba_offset_ + vector / 64 * 8, 8);
  return ((word >> (vector % 64)) & 1) != 0;
}

}  // namespace passthru::guest
