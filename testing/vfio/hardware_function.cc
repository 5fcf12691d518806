// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/hardware_function.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/vfio/config_permissions.h"

namespace passthru::fake {
namespace {

uint64_t FromLittleEndian(absl::Span<const uint8_t> data) {
  uint64_t value = 0;
  for (size_t i = 0; i < data.size(); ++i) {
    value |= uint64_t{data[i]} << (8 * i);
  }
  return value;
}

void ToLittleEndian(uint64_t value, absl::Span<uint8_t> data) {
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<uint8_t>(value >> (8 * i));
  }
}

const fixture::Region* FindRegion(const fixture::PciDevice& device,
                                  unsigned index) {
  for (const fixture::Region& region : device.regions()) {
    if (region.index() == index && region.size() != 0) return &region;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HardwareFunction>> HardwareFunction::Create(
    const fixture::PciDevice& device,
    std::unique_ptr<models::DeviceModel> model, bool mapped_registers) {
  auto function =
      absl::WrapUnique(new HardwareFunction(device, std::move(model)));
  absl::Status status = function->CreateBars();
  if (status.ok() && mapped_registers) {
    status = function->CreateMappedRegisters();
  }
  if (!status.ok()) return status;
  return function;
}

HardwareFunction::HardwareFunction(const fixture::PciDevice& device,
                                   std::unique_ptr<models::DeviceModel> model)
    : device_(device),
      image_(fixture::ExpandConfig(device)),
      assigned_bars_(fixture::AssignedBars(device_, image_.bytes)),
      config_(image_.bytes),
      model_(std::move(model)) {
  const auto find = [this](uint8_t id) {
    return fixture::FindCapability(image_.bytes, id);
  };
  capabilities_ = {
      .power_management = find(PCI_CAP_ID_PM),
      .vpd = find(PCI_CAP_ID_VPD),
      .msi = find(PCI_CAP_ID_MSI),
      .express = find(PCI_CAP_ID_EXP),
      .msix = find(PCI_CAP_ID_MSIX),
      .advanced_features = find(PCI_CAP_ID_AF),
  };
  FillUnknownMasks();
  for (const ConfigByte& byte : MakeConfigLayout(image_.bytes, {}).bytes) {
    undefined_.push_back(byte.access == ConfigByteAccess::kRaw);
  }
  can_disable_intx_ = (fixture::ReadLe16(image_.writable, PCI_COMMAND) &
                       PCI_COMMAND_INTX_DISABLE) != 0;
  if (capabilities_.msix.has_value()) {
    const size_t vectors =
        (fixture::ReadLe16(config_, *capabilities_.msix + PCI_MSIX_FLAGS) &
         PCI_MSIX_FLAGS_QSIZE) +
        1u;
    msix_masked_.assign(vectors, true);
    msix_pending_.assign(vectors, false);
  }
}

absl::Status HardwareFunction::CreateBars() {
  for (unsigned bar = 0; bar < kBars; ++bar) {
    const fixture::Region* region = FindRegion(device_, bar);
    if (region == nullptr) continue;
    PASSTHRU_ASSIGN_OR_RETURN(
        bars_[bar],
        BarMemory::Create(region->size(),
                          absl::StrCat(device_.name(), " BAR", bar)));
  }
  FillBars();
  return absl::OkStatus();
}

absl::Status HardwareFunction::CreateMappedRegisters() {
  for (uint8_t bar = 0; model_ != nullptr && bar < kBars; ++bar) {
    if (bars_[bar] == nullptr || bar_is_io(bar)) continue;
    PASSTHRU_ASSIGN_OR_RETURN(
        auto registers,
        MappedRegisters::Create(model_.get(), pci::BarIndex(bar),
                                bars_[bar].get()));
    mapped_registers_.push_back(std::move(registers));
  }
  return absl::OkStatus();
}

absl::Span<const std::unique_ptr<MappedRegisters>>
HardwareFunction::ReachableRegisters() const {
  if (!bars_reachable_) return {};
  return mapped_registers_;
}

void HardwareFunction::SetBarsReachable(bool reachable) {
  // What a processor stored before reaches the function.
  for (const auto& registers : ReachableRegisters()) registers->Sync();
  bars_reachable_ = reachable;
  for (const auto& bar : bars_) {
    if (bar == nullptr) continue;
    const absl::Status status = bar->SetReachable(reachable);
    if (status.ok()) continue;
    LOG(ERROR) << device_.name() << ": " << status;
    bars_reachable_ = false;
  }
  for (const auto& registers : ReachableRegisters()) registers->Reset();
}

bool HardwareFunction::Step() {
  bool done = false;
  for (const auto& registers : ReachableRegisters()) done |= registers->Sync();
  if (model_ == nullptr || !model_->Step()) return done;
  for (const auto& registers : ReachableRegisters()) registers->Show();
  return true;
}

void HardwareFunction::FillBars() {
  for (unsigned bar = 0; bar < kBars; ++bar) {
    if (bars_[bar] == nullptr) continue;
    bars_[bar]->Clear();
    for (const fixture::ByteRow& row : FindRegion(device_, bar)->contents()) {
      bars_[bar]->Write(row.offset(), *fixture::ParseHexBytes(row.bytes()));
    }
  }
  FillMsixTable();
}

// Visible only through a mapping, because VFIO shows all ones for the table.
void HardwareFunction::FillMsixTable() {
  if (!capabilities_.msix.has_value()) return;
  const uint32_t table =
      fixture::ReadLe32(image_.bytes, *capabilities_.msix + PCI_MSIX_TABLE);
  const unsigned bar = table & PCI_MSIX_TABLE_BIR;
  if (bar_size(bar) == 0) return;
  // One write of the whole table, because each is a system call.
  std::vector<uint8_t> bytes(size_t{PCI_MSIX_ENTRY_SIZE} * msix_vectors());
  const auto fill = [&bytes](uint32_t vector, uint64_t address, uint32_t data,
                             uint32_t control) {
    const size_t at = size_t{PCI_MSIX_ENTRY_SIZE} * vector;
    if (at >= bytes.size()) return;
    const auto entry = absl::MakeSpan(bytes).subspan(at, PCI_MSIX_ENTRY_SIZE);
    ToLittleEndian(address, entry.subspan(0, 8));
    ToLittleEndian(data, entry.subspan(8, 4));
    ToLittleEndian(control, entry.subspan(12, 4));
  };
  for (uint32_t vector = 0; vector < msix_vectors(); ++vector) {
    fill(vector, 0, 0, PCI_MSIX_ENTRY_CTRL_MASKBIT);
  }
  for (const fixture::MsixTableEntry& entry : device_.msix_table()) {
    fill(entry.vector(), entry.address(), entry.data(), entry.control());
  }
  bars_[bar]->Write(table & PCI_MSIX_TABLE_OFFSET, bytes);
}

// Sets the bits that the fixture did not measure as the specification says for
// the register.
void HardwareFunction::SetMaskDefault(size_t offset, uint32_t writable,
                                      unsigned width,
                                      uint32_t write_one_to_clear) {
  for (unsigned i = 0; i < width && offset + i < image_.unknown.size(); ++i) {
    const uint8_t unknown = image_.unknown[offset + i];
    image_.writable[offset + i] |= (writable >> (8 * i)) & unknown;
    image_.write_one_to_clear[offset + i] |=
        (write_one_to_clear >> (8 * i)) & unknown;
  }
}

void HardwareFunction::FillUnknownMasks() {
  SetMaskDefault(PCI_COMMAND,
                 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                     PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
                     PCI_COMMAND_INTX_DISABLE,
                 2);
  constexpr uint32_t kStatusErrors =
      PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT |
      PCI_STATUS_REC_TARGET_ABORT | PCI_STATUS_REC_MASTER_ABORT |
      PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY;
  SetMaskDefault(PCI_STATUS, 0, 2, kStatusErrors);
  SetMaskDefault(PCI_CACHE_LINE_SIZE, 0xff, 1);
  SetMaskDefault(PCI_INTERRUPT_LINE, 0xff, 1);
  for (unsigned bar = 0; bar < kBars; ++bar) {
    const fixture::Region* region = FindRegion(device_, bar);
    if (region == nullptr ||
        !fixture::HasBarRegister(device_, image_.bytes, bar)) {
      continue;
    }
    const size_t offset = PCI_BASE_ADDRESS_0 + 4 * bar;
    const uint64_t address_bits = ~(region->size() - 1);
    const uint32_t low = fixture::ReadLe32(image_.bytes, offset);
    SetMaskDefault(offset, static_cast<uint32_t>(address_bits), 4);
    if ((low & 7) == PCI_BASE_ADDRESS_MEM_TYPE_64) {
      SetMaskDefault(offset + 4, static_cast<uint32_t>(address_bits >> 32), 4);
    }
  }
  if (device_.has_expansion_rom()) {
    SetMaskDefault(
        PCI_ROM_ADDRESS,
        static_cast<uint32_t>(~(device_.expansion_rom().bar_size() - 1)) |
            PCI_ROM_ADDRESS_ENABLE,
        4);
  }
  if (capabilities_.power_management.has_value()) {
    SetMaskDefault(*capabilities_.power_management + PCI_PM_CTRL,
                   PCI_PM_CTRL_STATE_MASK, 2);
  }
  if (capabilities_.msi.has_value()) {
    const size_t at = *capabilities_.msi;
    const uint16_t flags = fixture::ReadLe16(image_.bytes, at + PCI_MSI_FLAGS);
    SetMaskDefault(at + PCI_MSI_FLAGS,
                   PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE, 2);
    SetMaskDefault(at + PCI_MSI_ADDRESS_LO, ~uint32_t{3}, 4);
    if ((flags & PCI_MSI_FLAGS_64BIT) != 0) {
      SetMaskDefault(at + PCI_MSI_ADDRESS_HI, ~uint32_t{0}, 4);
      SetMaskDefault(at + PCI_MSI_DATA_64, 0xffff, 2);
    } else {
      SetMaskDefault(at + PCI_MSI_DATA_32, 0xffff, 2);
    }
    if ((flags & PCI_MSI_FLAGS_MASKBIT) != 0) {
      SetMaskDefault(
          at + ((flags & PCI_MSI_FLAGS_64BIT) != 0 ? PCI_MSI_MASK_64
                                                   : PCI_MSI_MASK_32),
          ~uint32_t{0}, 4);
    }
  }
  if (capabilities_.msix.has_value()) {
    SetMaskDefault(*capabilities_.msix + PCI_MSIX_FLAGS,
                   PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
  }
  if (capabilities_.express.has_value()) {
    // These are all bits of Device Control except Initiate FLR, which reads as
    // 0.
    SetMaskDefault(*capabilities_.express + PCI_EXP_DEVCTL, 0x7fff, 2);
    SetMaskDefault(*capabilities_.express + PCI_EXP_DEVSTA, 0, 2, 0x000f);
  }
}

uint32_t HardwareFunction::ReadConfig(uint16_t offset, unsigned width) const {
  if (dead_ || offset + width > config_.size()) {
    return ~uint32_t{0} >> (32 - 8 * width);
  }
  return fixture::ReadLe32(config_, offset) &
         (~uint32_t{0} >> (32 - 8 * width));
}

void HardwareFunction::WriteConfig(uint16_t offset, unsigned width,
                                   uint32_t value) {
  if (dead_ || offset + width > config_.size()) return;
  const unsigned old_state = power_state();
  for (unsigned i = 0; i < width; ++i) {
    const uint8_t byte = static_cast<uint8_t>(value >> (8 * i));
    const uint8_t mask = image_.writable[offset + i];
    uint8_t& reg = config_[offset + i];
    reg = static_cast<uint8_t>((reg & ~mask) | (byte & mask));
    reg = static_cast<uint8_t>(reg &
                               ~(byte & image_.write_one_to_clear[offset + i]));
  }
  if (has_msi_mask_bits() && offset < msi_mask_offset() + 4 &&
      offset + width > msi_mask_offset()) {
    SendPendingMsi();
  }
  if (old_state == 3 && power_state() == 0 && soft_resets()) {
    Reset(models::ResetKind::kPowerState);
  }
}

bool HardwareFunction::bus_master() const {
  return (fixture::ReadLe16(config_, PCI_COMMAND) & PCI_COMMAND_MASTER) != 0 &&
         power_state() == 0;
}

bool HardwareFunction::memory_enabled() const {
  // A virtual function does not implement the bit (SR-IOV 3.4.1.3).
  return (device_.is_virtual_function() ||
          (fixture::ReadLe16(config_, PCI_COMMAND) & PCI_COMMAND_MEMORY) !=
              0) &&
         power_state() == 0;
}

bool HardwareFunction::intx_disabled() const {
  return (fixture::ReadLe16(config_, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE) !=
         0;
}

bool HardwareFunction::msi_enabled() const {
  return capabilities_.msi.has_value() &&
         (fixture::ReadLe16(config_, *capabilities_.msi + PCI_MSI_FLAGS) &
          PCI_MSI_FLAGS_ENABLE) != 0;
}

bool HardwareFunction::msix_enabled() const {
  return capabilities_.msix.has_value() &&
         (fixture::ReadLe16(config_, *capabilities_.msix + PCI_MSIX_FLAGS) &
          (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) ==
             PCI_MSIX_FLAGS_ENABLE;
}

uint64_t HardwareFunction::bar_size(unsigned bar) const {
  return bar < kBars && bars_[bar] != nullptr ? bars_[bar]->size() : 0;
}

bool HardwareFunction::bar_is_io(unsigned bar) const {
  return (assigned_bars_[bar] & PCI_BASE_ADDRESS_SPACE_IO) != 0;
}

bool HardwareFunction::DecodesBar(unsigned bar) const {
  if (dead_) return false;
  // An I/O BAR is reachable whatever COMMAND.IO says. Linux's own port
  // accessors ignore the bit, and so does the hardware that was measured.
  return bar_is_io(bar) ? power_state() == 0 : memory_enabled();
}

bool HardwareFunction::ModelHandles(unsigned bar, uint64_t offset) const {
  if (model_ == nullptr || bar >= kBars) return false;
  return model_->HandlesBar(pci::BarIndex(static_cast<uint8_t>(bar)), offset);
}

void HardwareFunction::ReadBar(unsigned bar, uint64_t offset,
                               absl::Span<uint8_t> data) {
  if (!DecodesBar(bar)) {
    std::fill(data.begin(), data.end(), uint8_t{0xff});
  } else if (ModelHandles(bar, offset)) {
    ToLittleEndian(model_->ReadBar(pci::BarIndex(static_cast<uint8_t>(bar)),
                                   offset, static_cast<unsigned>(data.size())),
                   data);
  } else {
    bars_[bar]->Read(offset, data);
  }
}

void HardwareFunction::WriteBar(unsigned bar, uint64_t offset,
                                absl::Span<const uint8_t> data) {
  if (!DecodesBar(bar)) return;
  if (ModelHandles(bar, offset)) {
    model_->WriteBar(pci::BarIndex(static_cast<uint8_t>(bar)), offset,
                     static_cast<unsigned>(data.size()),
                     FromLittleEndian(data));
    return;
  }
  bars_[bar]->Write(offset, data);
}

}  // namespace passthru::fake
