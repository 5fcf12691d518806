// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/direct/direct_function.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/little_endian.h"

namespace passthru::guest {
namespace {

constexpr uint64_t kEntrySize = PCI_MSIX_ENTRY_SIZE;

uint64_t LoadBytes(const std::vector<uint8_t>& bytes, uint64_t at,
                   unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) {
    const uint8_t byte = at + i < bytes.size() ? bytes[at + i] : 0xff;
    value |= uint64_t{byte} << (8 * i);
  }
  return value;
}

void StoreBytes(std::vector<uint8_t>& bytes, uint64_t at, unsigned width,
                uint64_t value) {
  for (unsigned i = 0; i < width && at + i < bytes.size(); ++i) {
    bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

}  // namespace

DirectFunction::DirectFunction(Options options, Platform platform,
                               models::DeviceModel* model)
    : options_(std::move(options)),
      platform_(std::move(platform)),
      model_(model),
      config_(options_.config),
      mask_(options_.config.size()),
      memory_(6) {
  msi_ = FindCapability(PCI_CAP_ID_MSI);
  msix_ = FindCapability(PCI_CAP_ID_MSIX);
  express_ = FindCapability(PCI_CAP_ID_EXP);
  power_ = FindCapability(PCI_CAP_ID_PM);
  for (const Bar& bar : options_.bars) {
    CHECK_LT(bar.index, 6);
    memory_[bar.index].resize(std::min<uint64_t>(bar.size, 1 << 20));
  }
  InitializeMasks();
  Reset(models::ResetKind::kPowerOn);
  resets_ = 0;
  if (model_ != nullptr) model_->set_host(this);
}

uint16_t DirectFunction::Word(uint16_t offset) const {
  return pci::LoadLittleEndian<uint16_t>(config_, offset);
}

uint32_t DirectFunction::Dword(uint16_t offset) const {
  return pci::LoadLittleEndian<uint32_t>(config_, offset);
}

uint16_t DirectFunction::FindCapability(uint8_t id) const {
  uint16_t at = config_[PCI_CAPABILITY_LIST];
  for (int i = 0; i < 48 && at >= 0x40; ++i) {
    at &= 0xfc;
    const uint16_t header = Word(at);
    if ((header & 0xff) == id) return at;
    at = header >> 8;
  }
  return 0;
}

void DirectFunction::AllowWrites(uint16_t offset, uint32_t mask) {
  pci::StoreLittleEndian<uint32_t>(
      absl::MakeSpan(mask_), offset,
      pci::LoadLittleEndian<uint32_t>(mask_, offset) | mask);
}

void DirectFunction::InitializeMasks() {
  AllowWrites(PCI_COMMAND, 0x0507);
  AllowWrites(PCI_CACHE_LINE_SIZE, 0xffff);
  AllowWrites(PCI_INTERRUPT_LINE, 0xff);
  for (const Bar& bar : options_.bars) {
    const uint16_t at =
        static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar.index);
    const uint64_t mask = ~(bar.size - 1);
    AllowWrites(at, static_cast<uint32_t>(mask) & (bar.io ? ~3u : ~0xfu));
    if (bar.is_64bit) AllowWrites(at + 4, static_cast<uint32_t>(mask >> 32));
  }
  if (msi_ != 0) {
    // Enable and Multiple Message Enable, and all of address, data and mask.
    AllowWrites(msi_, 0x0071u << 16);
    for (uint16_t at = 4; at < 0x14; at += 4) AllowWrites(msi_ + at, ~0u);
  }
  if (msix_ != 0) AllowWrites(msix_, 0xc000u << 16);
  if (express_ != 0) AllowWrites(express_ + PCI_EXP_DEVCTL, 0x7fff);
  if (power_ != 0) AllowWrites(power_ + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
}

void DirectFunction::Reset(models::ResetKind kind) {
  config_ = options_.config;
  msix_table_.assign(
      msix_ == 0 ? 0
                 : ((Word(msix_ + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1) *
                       kEntrySize,
      0);
  for (size_t at = PCI_MSIX_ENTRY_VECTOR_CTRL; at < msix_table_.size();
       at += kEntrySize) {
    msix_table_[at] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
  }
  msix_pending_.assign(msix_table_.size() / kEntrySize, false);
  ++resets_;
  if (model_ != nullptr) model_->Reset(kind);
}

uint32_t DirectFunction::ConfigRead(uint16_t offset, unsigned width) {
  return static_cast<uint32_t>(LoadBytes(config_, offset, width));
}

void DirectFunction::ConfigWrite(uint16_t offset, unsigned width,
                                 uint32_t value) {
  for (unsigned i = 0; i < width && offset + i < config_.size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>(value >> (8 * i));
    uint8_t& old = config_[offset + i];
    old = static_cast<uint8_t>((old & ~mask_[offset + i]) |
                               (byte & mask_[offset + i]));
  }
  if (express_ != 0 && offset == express_ + PCI_EXP_DEVCTL &&
      (value & PCI_EXP_DEVCTL_BCR_FLR) != 0) {
    Reset(models::ResetKind::kFunctionLevel);
  }
  DeliverPending();
}

std::optional<DirectFunction::Hit> DirectFunction::FindMemory(
    uint64_t address) const {
  const bool powered =
      power_ == 0 || (Word(power_ + PCI_PM_CTRL) & PCI_PM_CTRL_STATE_MASK) == 0;
  if (!powered || (Word(PCI_COMMAND) & PCI_COMMAND_MEMORY) == 0) {
    return std::nullopt;
  }
  for (const Bar& bar : options_.bars) {
    if (bar.io || bar.size == 0) continue;
    const uint16_t at =
        static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar.index);
    uint64_t base = Dword(at) & ~0xfu;
    if (bar.is_64bit) base |= uint64_t{Dword(at + 4)} << 32;
    if (base != 0 && address >= base && address - base < bar.size) {
      return Hit{bar.index, address - base};
    }
  }
  return std::nullopt;
}

bool DirectFunction::InTable(const Hit& hit) const {
  if (msix_ == 0) return false;
  const uint32_t table = Dword(msix_ + PCI_MSIX_TABLE);
  const uint64_t begin = table & PCI_MSIX_TABLE_OFFSET;
  return hit.bar == static_cast<int>(table & PCI_MSIX_TABLE_BIR) &&
         hit.offset >= begin && hit.offset - begin < msix_table_.size();
}

uint64_t DirectFunction::BarRead(const Hit& hit, unsigned width) {
  if (InTable(hit)) {
    const uint64_t begin =
        Dword(msix_ + PCI_MSIX_TABLE) & PCI_MSIX_TABLE_OFFSET;
    return LoadBytes(msix_table_, hit.offset - begin, width);
  }
  if (msix_ != 0) {
    const uint32_t pba = Dword(msix_ + PCI_MSIX_PBA);
    const uint64_t begin = pba & PCI_MSIX_PBA_OFFSET;
    if (hit.bar == static_cast<int>(pba & PCI_MSIX_PBA_BIR) &&
        hit.offset >= begin &&
        (hit.offset - begin) * 8 < msix_pending_.size()) {
      uint64_t word = 0;
      const size_t first = (hit.offset - begin) * 8;
      for (size_t i = 0; i < 8 * width && first + i < msix_pending_.size();
           ++i) {
        word |= uint64_t{msix_pending_[first + i]} << i;
      }
      return word;
    }
  }
  const pci::BarIndex bar(static_cast<uint8_t>(hit.bar));
  if (model_ != nullptr && model_->HandlesBar(bar, hit.offset)) {
    return model_->ReadBar(bar, hit.offset, width);
  }
  return LoadBytes(memory_[hit.bar], hit.offset, width);
}

void DirectFunction::BarWrite(const Hit& hit, unsigned width, uint64_t value) {
  if (InTable(hit)) {
    const uint64_t begin =
        Dword(msix_ + PCI_MSIX_TABLE) & PCI_MSIX_TABLE_OFFSET;
    StoreBytes(msix_table_, hit.offset - begin, width, value);
    DeliverPending();
    return;
  }
  const pci::BarIndex bar(static_cast<uint8_t>(hit.bar));
  if (model_ != nullptr && model_->HandlesBar(bar, hit.offset)) {
    model_->WriteBar(bar, hit.offset, width, value);
    return;
  }
  StoreBytes(memory_[hit.bar], hit.offset, width, value);
}

absl::Status DirectFunction::DmaRead(uint64_t iova, absl::Span<uint8_t> data) {
  const absl::Span<uint8_t> bytes = platform_.ram(iova, data.size());
  if ((Word(PCI_COMMAND) & PCI_COMMAND_MASTER) == 0 ||
      bytes.size() != data.size()) {
    return absl::PermissionDeniedError("DMA refused");
  }
  std::ranges::copy(bytes, data.begin());
  return absl::OkStatus();
}

absl::Status DirectFunction::DmaWrite(uint64_t iova,
                                      absl::Span<const uint8_t> data) {
  const absl::Span<uint8_t> bytes = platform_.ram(iova, data.size());
  if ((Word(PCI_COMMAND) & PCI_COMMAND_MASTER) == 0 ||
      bytes.size() != data.size()) {
    return absl::PermissionDeniedError("DMA refused");
  }
  std::ranges::copy(data, bytes.begin());
  return absl::OkStatus();
}

void DirectFunction::RaiseMsix(uint16_t vector) {
  if (vector >= msix_pending_.size()) return;
  msix_pending_[vector] = true;
  DeliverPending();
}

void DirectFunction::DeliverPending() {
  if (msix_ == 0) return;
  const uint16_t control = Word(msix_ + PCI_MSIX_FLAGS);
  if ((control & PCI_MSIX_FLAGS_ENABLE) == 0 ||
      (control & PCI_MSIX_FLAGS_MASKALL) != 0 ||
      (Word(PCI_COMMAND) & PCI_COMMAND_MASTER) == 0) {
    return;
  }
  for (size_t i = 0; i < msix_pending_.size(); ++i) {
    const uint64_t entry = i * kEntrySize;
    const bool masked =
        (msix_table_[entry + PCI_MSIX_ENTRY_VECTOR_CTRL] & 1) != 0;
    if (!msix_pending_[i] || masked) continue;
    msix_pending_[i] = false;
    platform_.deliver({LoadBytes(msix_table_, entry, 8),
                       static_cast<uint32_t>(LoadBytes(
                           msix_table_, entry + PCI_MSIX_ENTRY_DATA, 4))});
  }
}

void DirectFunction::RaiseMsi(uint16_t vector) {
  if (msi_ == 0 || (Word(PCI_COMMAND) & PCI_COMMAND_MASTER) == 0) return;
  const uint16_t control = Word(msi_ + PCI_MSI_FLAGS);
  if ((control & PCI_MSI_FLAGS_ENABLE) == 0) return;
  const bool is_64bit = (control & PCI_MSI_FLAGS_64BIT) != 0;
  const uint16_t enabled = 1 << ((control & PCI_MSI_FLAGS_QSIZE) >> 4);
  uint64_t address = Dword(msi_ + PCI_MSI_ADDRESS_LO);
  if (is_64bit) address |= uint64_t{Dword(msi_ + PCI_MSI_ADDRESS_HI)} << 32;
  const uint32_t data =
      Word(msi_ + (is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32));
  platform_.deliver({address, data | (vector % enabled)});
}

}  // namespace passthru::guest
