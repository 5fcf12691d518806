// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/config_shadow.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "passthru/pci/advanced_features.h"
#include "passthru/pci/pcie_capability.h"

namespace passthru::vfio_pci {
namespace {

constexpr uint8_t kAllVirtual = 0xff;

bool Overlaps(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size) {
  return uint64_t{a} < uint64_t{b} + b_size &&
         uint64_t{b} < uint64_t{a} + a_size;
}

}  // namespace

bool ConfigShadow::NeedsDevice(uint32_t offset, uint32_t size) const {
  for (uint32_t i = 0; i < size; ++i) {
    const uint64_t position = uint64_t{offset} + i;
    if (position >= virtual_.size()) return false;
    if (virtual_[position] != kAllVirtual) return true;
  }
  return false;
}

void ConfigShadow::Merge(uint32_t offset, absl::Span<uint8_t> device) const {
  const absl::Span<const uint8_t> values = space_.bytes();
  for (size_t i = 0; i < device.size(); ++i) {
    const uint64_t position = uint64_t{offset} + i;
    if (position >= values.size()) {
      device[i] = 0xff;
      continue;
    }
    const uint8_t mask = virtual_[position];
    device[i] =
        static_cast<uint8_t>((device[i] & ~mask) | (values[position] & mask));
  }
}

pci::ConfigWriteResult ConfigShadow::Write(uint32_t offset,
                                           absl::Span<const uint8_t> bytes) {
  return space_.Write(offset, bytes);
}

std::vector<ConfigShadow::Run> ConfigShadow::DeviceRuns(uint32_t offset,
                                                        uint32_t size) const {
  std::vector<Run> runs;
  for (uint32_t i = 0; i < size; ++i) {
    const uint64_t position = uint64_t{offset} + i;
    if (position >= virtual_.size()) break;
    if (virtual_[position] == kAllVirtual || no_write_[position] != 0) continue;
    if (!runs.empty() && runs.back().begin + runs.back().size == i) {
      ++runs.back().size;
    } else {
      runs.push_back({i, 1});
    }
  }
  return runs;
}

bool ConfigShadow::TouchesTopology(uint32_t offset, uint32_t size) const {
  for (uint32_t i = 0; i < size; ++i) {
    const uint64_t position = uint64_t{offset} + i;
    if (position >= topology_.size()) break;
    if (topology_[position] != 0) return true;
  }
  return false;
}

bool ConfigShadow::StartsReset(uint32_t offset,
                               absl::Span<const uint8_t> bytes) const {
  for (const ResetTrigger& trigger : reset_triggers_) {
    if (trigger.offset < offset) continue;
    const uint32_t index = trigger.offset - offset;
    if (index < bytes.size() && (bytes[index] & trigger.bit) != 0) return true;
  }
  return false;
}

bool ConfigShadow::CoversPowerState(uint32_t offset, uint32_t size) const {
  if (!power_management_.has_value()) return false;
  const auto control = pci::PowerManagementCapability::kControlStatus.At(
      power_management_->offset());
  return Overlaps(offset, size, control.offset, 1);
}

std::vector<pci::Bar> ConfigShadow::Bars() const {
  std::vector<pci::Bar> bars;
  bars.reserve(options_.bars.size());
  for (const pci::Bar& bar : options_.bars) {
    const pci::ConfigReg<uint32_t> low = pci::RegisterOf(bar.index);
    pci::BarRegister value = {.low = space_.Get(low)};
    if (bar.is_64bit()) value.high = space_.Get(low.At(4));
    bars.push_back(pci::WithRegister(bar, value));
  }
  return bars;
}

std::optional<pci::Bar> ConfigShadow::Rom() const {
  if (!options_.rom.has_value()) return std::nullopt;
  const pci::ConfigReg<uint32_t> reg = pci::RegisterOf(options_.rom->index);
  return pci::WithRegister(*options_.rom, {.low = space_.Get(reg)});
}

bool ConfigShadow::SetBarAddress(pci::BarIndex index, uint64_t address) {
  std::optional<pci::Bar> bar;
  if (index.is_rom()) {
    bar = Rom();
  } else {
    const auto found =
        std::find_if(options_.bars.begin(), options_.bars.end(),
                     [index](const pci::Bar& b) { return b.index == index; });
    if (found != options_.bars.end()) bar = *found;
  }
  if (!bar.has_value() || address % bar->size != 0) return false;
  bar->address = address;
  const pci::BarRegister value = pci::EncodeBar(*bar);
  if (pci::WithRegister(*bar, value).address != address) return false;
  const pci::ConfigReg<uint32_t> low = pci::RegisterOf(index);
  space_.Set(low, value.low);
  if (bar->is_64bit()) space_.Set(low.At(4), value.high);
  return true;
}

pci::MsiState ConfigShadow::MsiState() const {
  if (!msi_.has_value()) return {};
  return msi_->Decode(space_.bytes().subspan(msi_->offset(), msi_->size()));
}

pci::MsixControl ConfigShadow::MsixControl() const {
  if (!msix_.has_value()) return {};
  return space_.Get(pci::MsixCapability::kControl.At(msix_->offset()));
}

void ConfigShadow::SetMsiPending(uint32_t pending) {
  if (!msi_.has_value() || !msi_->pending().has_value()) return;
  space_.Set(msi_->pending()->At(msi_->offset()), pending);
}

void ConfigShadow::Reset() {
  pci::Command command = space_.Get(pci::kCommand);
  command.raw = 0;
  space_.Set(pci::kCommand, command);
  space_.Set(pci::kInterruptLine, uint8_t{0});
  for (const pci::Bar& bar : options_.bars) SetBarAddress(bar.index, 0);
  if (options_.rom.has_value()) {
    space_.Set(pci::kExpansionRom, pci::ExpansionRom{});
  }
  if (msi_.has_value()) {
    // Every bit that software can write is zero after a reset.
    const auto writable = msi_->WriteMask();
    std::vector<uint8_t> value(
        space_.bytes().begin() + msi_->offset(),
        space_.bytes().begin() + msi_->offset() + msi_->size());
    for (size_t i = 0; i < value.size(); ++i) {
      value[i] = static_cast<uint8_t>(value[i] & ~writable[i]);
    }
    space_.SetBytes(msi_->offset(), value);
  }
  if (msix_.has_value()) {
    pci::MsixControl control = MsixControl();
    pci::MsixControl::kEnable.Set(control, false);
    pci::MsixControl::kFunctionMask.Set(control, false);
    space_.Set(pci::MsixCapability::kControl.At(msix_->offset()), control);
  }
}

}  // namespace passthru::vfio_pci
