// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_resources.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

absl::Status UpdateError(const LinuxPciDevice& device, const GuestBar& bar,
                         const char* half, uint32_t written, uint32_t read) {
  return absl::InternalError(
      absl::StrFormat("guest: %s: BAR %d: error updating%s (%#010x != %#010x)",
                      device.name(), bar.index, half, written, read));
}

bool Overlap(const GuestRange& a, const GuestRange& b) {
  return a.base < b.base + b.size && b.base < a.base + a.size;
}

}  // namespace

absl::Status UpdateResource(LinuxPciDevice& device, int index,
                            uint64_t address) {
  GuestBar* bar = device.FindBar(index);
  if (bar == nullptr) {
    return absl::NotFoundError(
        absl::StrFormat("guest: %s has no BAR %d", device.name(), index));
  }
  // Some ROM BARs read as zero while they are disabled, so
  // pci_std_update_resource() updates only enabled ones.
  if (bar->is_rom() && (bar->flags & PCI_ROM_ADDRESS_ENABLE) == 0) {
    bar->address = address;
    return absl::OkStatus();
  }
  const uint16_t reg = static_cast<uint16_t>(
      bar->is_rom() ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * index);
  uint32_t mask = PCI_BASE_ADDRESS_MEM_MASK & 0xffffffff;
  if (bar->is_io()) mask = PCI_BASE_ADDRESS_IO_MASK & 0xffffffff;
  if (bar->is_rom()) mask = PCI_ROM_ADDRESS_MASK & 0xffffffff;

  // Between the writes of its two halves a 64-bit BAR may overlap another
  // device, so pci_std_update_resource() disables decode meanwhile.
  uint16_t command = 0;
  if (bar->is_64bit()) {
    command = device.ReadWord(PCI_COMMAND);
    device.WriteWord(PCI_COMMAND,
                     static_cast<uint16_t>(command & ~PCI_COMMAND_MEMORY));
  }
  absl::Status status = absl::OkStatus();
  const uint32_t low = static_cast<uint32_t>(address) | bar->flags;
  device.WriteDword(reg, low);
  const uint32_t low_check = device.ReadDword(reg);
  if (((low ^ low_check) & mask) != 0) {
    status = UpdateError(device, *bar, "", low, low_check);
  }
  if (bar->is_64bit()) {
    const uint32_t high = static_cast<uint32_t>(address >> 32);
    device.WriteDword(reg + 4, high);
    const uint32_t high_check = device.ReadDword(reg + 4);
    if (status.ok() && high != high_check) {
      status = UpdateError(device, *bar, " (high)", high, high_check);
    }
    device.WriteWord(PCI_COMMAND, command);
  }
  if (status.ok()) bar->address = address;
  return status;
}

PciResources::PciResources(const GuestLayout& layout)
    : io_window_(layout.io_window),
      memory32_window_(layout.memory32_window),
      memory64_window_(layout.memory64_window) {}

// A 64-bit BAR goes above 4 GiB if there is room, as in
// pci_bus_alloc_resource().
std::vector<GuestRange> PciResources::Windows(const GuestBar& bar) const {
  if (bar.is_io()) return {io_window_};
  if (bar.is_64bit()) return {memory64_window_, memory32_window_};
  return {memory32_window_};
}

bool PciResources::IsFree(bool io, const GuestRange& range) const {
  return std::ranges::none_of(used_, [&](const Used& used) {
    return used.io == io && Overlap(used.range, range);
  });
}

bool PciResources::IsClaimed(const LinuxPciDevice& device, int bar) const {
  return std::ranges::any_of(used_, [&](const Used& used) {
    return used.owner == device.info.bdf && used.bar == bar;
  });
}

bool PciResources::CanStay(const GuestBar& bar) const {
  if (bar.address == 0 || bar.address % bar.size != 0) return false;
  const std::vector<GuestRange> windows = Windows(bar);
  const bool inside =
      std::ranges::any_of(windows, [&bar](const GuestRange& window) {
        return window.Contains(bar.address, bar.size);
      });
  return inside && IsFree(bar.is_io(), {bar.address, bar.size});
}

absl::StatusOr<uint64_t> PciResources::FindPlace(const LinuxPciDevice& device,
                                                 const GuestBar& bar) const {
  for (const GuestRange& window : Windows(bar)) {
    // First fit, at the window's start and then behind each range in use.
    std::vector<uint64_t> starts = {std::max<uint64_t>(window.base, bar.size)};
    for (const Used& used : used_) {
      if (used.io == bar.is_io()) {
        starts.push_back(used.range.base + used.range.size);
      }
    }
    std::ranges::sort(starts);
    for (uint64_t start : starts) {
      const uint64_t aligned = (start + bar.size - 1) & ~(bar.size - 1);
      if (aligned < start) continue;
      const GuestRange range = {aligned, bar.size};
      if (window.Contains(aligned, bar.size) && IsFree(bar.is_io(), range)) {
        return aligned;
      }
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrFormat("guest: %s: BAR %d: failed to assign [size %#x]",
                      device.name(), bar.index, bar.size));
}

void PciResources::Claim(const LinuxPciDevice& device) {
  for (const GuestBar& bar : device.info.bars) {
    if (bar.is_rom() || !CanStay(bar)) continue;
    used_.push_back(
        {device.info.bdf, bar.index, bar.is_io(), {bar.address, bar.size}});
  }
}

absl::Status PciResources::AssignUnclaimed(LinuxPciDevice& device) {
  for (const GuestBar& bar : device.info.bars) {
    if (bar.is_rom() || IsClaimed(device, bar.index)) continue;
    PASSTHRU_RETURN_IF_ERROR(Move(device, bar.index));
  }
  return absl::OkStatus();
}

absl::Status PciResources::Move(LinuxPciDevice& device, int index) {
  const GuestBar* bar = device.FindBar(index);
  if (bar == nullptr || bar->is_rom()) {
    return absl::NotFoundError(absl::StrFormat(
        "guest: %s has no BAR %d to move", device.name(), index));
  }
  PASSTHRU_ASSIGN_OR_RETURN(const uint64_t place, FindPlace(device, *bar));
  PASSTHRU_RETURN_IF_ERROR(UpdateResource(device, index, place));
  std::erase_if(used_, [&](const Used& used) {
    return used.owner == device.info.bdf && used.bar == index;
  });
  used_.push_back({device.info.bdf, index, bar->is_io(), {place, bar->size}});
  return absl::OkStatus();
}

}  // namespace passthru::guest
