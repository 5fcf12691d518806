// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_config.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "passthru/pci/bar_index.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint32_t WidthMask(unsigned width) {
  return ~uint32_t{0} >> (32 - 8 * width);
}

bool IsBar(uint16_t offset) {
  return (offset >= PCI_BASE_ADDRESS_0 && offset < PCI_BASE_ADDRESS_5 + 4) ||
         (offset >= PCI_ROM_ADDRESS && offset < PCI_ROM_ADDRESS + 4);
}

std::vector<uint8_t> HardwareBytes(const HardwareFunction& hardware) {
  return hardware.SaveState();
}

}  // namespace

FakeConfig::FakeConfig(Options options)
    : options_(std::move(options)),
      layout_(MakeConfigLayout(HardwareBytes(*options_.hardware),
                               options_.layout)) {
  for (uint16_t bar = 0; bar < pci::kType0BarCount; ++bar) {
    real_bars_[bar] = options_.hardware->ReadConfig(
        static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar), 4);
  }
  real_bars_[pci::BarIndex::kRomValue] =
      options_.hardware->ReadConfig(PCI_ROM_ADDRESS, 4);
}

SyscallResult<size_t> FakeConfig::Read(uint64_t offset,
                                       absl::Span<uint8_t> data) {
  if (offset >= size() || data.size() > size() - offset) return {0, EFAULT};
  size_t done = 0;
  while (done < data.size()) {
    const Piece piece = NextPiece(offset + done, data.size() - done);
    const uint32_t value = ReadPiece(piece);
    for (unsigned i = 0; i < piece.width; ++i) {
      data[done + i] = static_cast<uint8_t>(value >> (8 * i));
    }
    done += piece.width;
  }
  return {done, 0};
}

SyscallResult<size_t> FakeConfig::Write(uint64_t offset,
                                        absl::Span<const uint8_t> data) {
  if (offset >= size() || data.size() > size() - offset) return {0, EFAULT};
  size_t done = 0;
  while (done < data.size()) {
    const Piece piece = NextPiece(offset + done, data.size() - done);
    WritePiece(piece, fixture::ReadLe32(data.subspan(done), 0) &
                          WidthMask(piece.width));
    done += piece.width;
  }
  return {done, 0};
}

FakeConfig::Piece FakeConfig::NextPiece(uint64_t offset,
                                        size_t remaining) const {
  const std::vector<ConfigByte>& bytes = layout_.bytes;
  const ConfigByte& first = bytes[offset];
  // As in vfio_pci_cap_remaining_dword(), a piece ends with the dword or with
  // the structure. Adjacent raw bytes, which belong to no capability, are one
  // structure.
  size_t limit = 1;
  while ((offset + limit) % 4 != 0) {
    const ConfigByte& byte = bytes[offset + limit];
    const bool same = byte.access == ConfigByteAccess::kRaw
                          ? first.access == ConfigByteAccess::kRaw
                          : first.access != ConfigByteAccess::kRaw &&
                                byte.start == first.start;
    if (!same) break;
    ++limit;
  }
  const size_t count = std::min(remaining, limit);
  unsigned width = 1;
  if (count >= 4 && offset % 4 == 0) {
    width = 4;
  } else if (count >= 2 && offset % 2 == 0) {
    width = 2;
  }
  return {.position = static_cast<uint16_t>(offset),
          .width = width,
          .offset = static_cast<uint16_t>(offset - first.start),
          .byte = &first};
}

uint32_t FakeConfig::ReadPiece(const Piece& piece) {
  switch (piece.byte->access) {
    case ConfigByteAccess::kRaw:
      return options_.hardware->ReadConfig(piece.position, piece.width);
    case ConfigByteAccess::kDirect:
    case ConfigByteAccess::kDirectWritable:
      return ReadDirect(piece);
    case ConfigByteAccess::kMasked:
      break;
  }
  if (!piece.byte->extended) {
    if (piece.byte->id == 0 && IsBar(piece.offset)) FixUpBars();
    if (piece.byte->id == PCI_CAP_ID_MSI) ReadMsi(piece);
  }
  return ReadMasked(piece);
}

void FakeConfig::WritePiece(const Piece& piece, uint32_t value) {
  switch (piece.byte->access) {
    case ConfigByteAccess::kRaw:
    case ConfigByteAccess::kDirectWritable:
      options_.hardware->WriteConfig(piece.position, piece.width, value);
      return;
    case ConfigByteAccess::kDirect:
      return;
    case ConfigByteAccess::kMasked:
      break;
  }
  if (piece.byte->extended) {
    WriteMasked(piece, value);
    return;
  }
  switch (piece.byte->id) {
    case 0:
      WriteHeader(piece, value);
      return;
    case PCI_CAP_ID_PM:
      WritePowerManagement(piece, value);
      return;
    case PCI_CAP_ID_VPD:
      WriteVpd(piece, value);
      return;
    case PCI_CAP_ID_MSI:
      WriteMsi(piece, value);
      return;
    case PCI_CAP_ID_EXP:
      WriteExpress(piece, value);
      return;
    case PCI_CAP_ID_AF:
      WriteAdvancedFeatures(piece, value);
      return;
    default:
      WriteMasked(piece, value);
      return;
  }
}

// Returns the hardware's bytes, except for the header with its next pointer.
uint32_t FakeConfig::ReadDirect(const Piece& piece) const {
  uint32_t value = options_.hardware->ReadConfig(piece.position, piece.width);
  uint32_t header = 0;
  if (piece.byte->extended) {
    if (piece.offset < 4) header = WidthMask(piece.width);
  } else if (piece.offset == PCI_CAP_LIST_ID && piece.width > 1) {
    header = WidthMask(2);
  } else if (piece.offset == PCI_CAP_LIST_NEXT) {
    header = WidthMask(1);
  }
  return (value & ~header) | (Virtual(piece.position, piece.width) & header);
}

uint32_t FakeConfig::ReadMasked(const Piece& piece) const {
  uint32_t virt = 0;
  for (unsigned i = 0; i < piece.width; ++i) {
    virt |= uint32_t{layout_.bytes[piece.position + i].virt} << (8 * i);
  }
  return (options_.hardware->ReadConfig(piece.position, piece.width) & ~virt) |
         (Virtual(piece.position, piece.width) & virt);
}

void FakeConfig::WriteMasked(const Piece& piece, uint32_t value) {
  uint32_t virt = 0;
  uint32_t write = 0;
  for (unsigned i = 0; i < piece.width; ++i) {
    const ConfigByte& byte = layout_.bytes[piece.position + i];
    virt |= uint32_t{byte.virt} << (8 * i);
    write |= uint32_t{byte.write} << (8 * i);
  }
  if ((write & virt) != 0) {
    const uint32_t old = Virtual(piece.position, piece.width);
    SetVirtual(piece.position, piece.width,
               (old & ~(write & virt)) | (value & write & virt));
  }
  // Like the kernel, writes back each read-only bit as it was read, even where
  // writing 1 clears the bit.
  if ((write & ~virt) != 0) {
    const uint32_t old =
        options_.hardware->ReadConfig(piece.position, piece.width);
    const uint32_t bits = write & ~virt;
    options_.hardware->WriteConfig(piece.position, piece.width,
                                   (old & ~bits) | (value & bits));
  }
}

bool FakeConfig::memory_enabled() const {
  return options_.hardware->power_state() < 3 &&
         (options_.layout.is_virtual_function ||
          (Virtual(PCI_COMMAND, 2) & PCI_COMMAND_MEMORY) != 0);
}

uint8_t FakeConfig::interrupt_pin() const {
  return layout_.vconfig[PCI_INTERRUPT_PIN];
}

uint32_t FakeConfig::Virtual(uint16_t offset, unsigned width) const {
  return fixture::ReadLe32(layout_.vconfig, offset) & WidthMask(width);
}

void FakeConfig::SetVirtual(uint16_t offset, unsigned width, uint32_t value) {
  for (unsigned i = 0; i < width; ++i) {
    layout_.vconfig[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

}  // namespace passthru::fake
