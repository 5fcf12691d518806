// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/flat_memory.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdint>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/little_endian.h"

namespace passthru::models {
namespace {

constexpr uint8_t kCapabilityOffset = 0x40;

}  // namespace

FlatMemory::FlatMemory(uint64_t base, uint64_t size)
    : base_(base), memory_(size), config_(256) {}

bool FlatMemory::Contains(uint64_t address, uint64_t size) const {
  return address >= base_ && address - base_ <= memory_.size() &&
         size <= memory_.size() - (address - base_);
}

absl::Span<uint8_t> FlatMemory::Bytes(uint64_t address, uint64_t size) {
  CHECK(Contains(address, size)) << "the test asked for memory it has not";
  return absl::MakeSpan(memory_).subspan(address - base_, size);
}

void FlatMemory::SetReadOnly(uint64_t address, uint64_t size) {
  read_only_begin_ = address;
  read_only_end_ = address + size;
}

void FlatMemory::SetInterruptMode(InterruptMode mode) {
  const absl::Span<uint8_t> config = absl::MakeSpan(config_);
  std::fill(config.begin(), config.end(), uint8_t{0});
  if (mode == InterruptMode::kIntx) return;
  const bool msix = mode == InterruptMode::kMsix;
  pci::StoreLittleEndian<uint16_t>(config, PCI_STATUS, PCI_STATUS_CAP_LIST);
  config[PCI_CAPABILITY_LIST] = kCapabilityOffset;
  config[kCapabilityOffset] = msix ? 0x11 : 0x05;
  pci::StoreLittleEndian<uint16_t>(config, kCapabilityOffset + 2,
                                   msix ? 0x8000 : 0x0001);
}

absl::Status FlatMemory::CheckDma(uint64_t iova, uint64_t size) {
  if (!bus_master_) {
    return absl::PermissionDeniedError("COMMAND.BusMaster is clear");
  }
  if (dma_budget_ == 0) {
    return absl::PermissionDeniedError("the test refuses this access");
  }
  if (!Contains(iova, size)) {
    return absl::PermissionDeniedError(
        absl::StrCat("IOVA 0x", absl::Hex(iova), " is not mapped"));
  }
  if (dma_budget_ > 0) --dma_budget_;
  return absl::OkStatus();
}

absl::Status FlatMemory::DmaRead(uint64_t iova, absl::Span<uint8_t> data) {
  ++dma_reads_;
  PASSTHRU_RETURN_IF_ERROR(CheckDma(iova, data.size()));
  const absl::Span<const uint8_t> bytes = Bytes(iova, data.size());
  std::copy(bytes.begin(), bytes.end(), data.begin());
  return absl::OkStatus();
}

absl::Status FlatMemory::DmaWrite(uint64_t iova,
                                  absl::Span<const uint8_t> data) {
  ++dma_writes_;
  PASSTHRU_RETURN_IF_ERROR(CheckDma(iova, data.size()));
  if (iova < read_only_end_ && iova + data.size() > read_only_begin_) {
    return absl::PermissionDeniedError(
        absl::StrCat("IOVA 0x", absl::Hex(iova), " is read-only"));
  }
  std::copy(data.begin(), data.end(), Bytes(iova, data.size()).begin());
  return absl::OkStatus();
}

uint32_t FlatMemory::ReadConfig(uint16_t offset, unsigned width) {
  const uint32_t value = pci::LoadLittleEndian<uint32_t>(config_, offset);
  return width >= 4 ? value : value & ((uint32_t{1} << (8 * width)) - 1);
}

void FlatMemory::ReadBarMemory(pci::BarIndex, uint64_t offset,
                               absl::Span<uint8_t> data) {
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = offset + i < bar_memory_.size() ? bar_memory_[offset + i]
                                              : uint8_t{0xff};
  }
}

void FlatMemory::WriteBarMemory(pci::BarIndex, uint64_t offset,
                                absl::Span<const uint8_t> data) {
  for (size_t i = 0; i < data.size() && offset + i < bar_memory_.size(); ++i) {
    bar_memory_[offset + i] = data[i];
  }
}

}  // namespace passthru::models
