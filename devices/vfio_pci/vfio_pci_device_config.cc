// SPDX-License-Identifier: Apache-2.0
//
// Guest accesses to the configuration space of a VfioPciDevice, and their
// effects on its BARs, interrupts and state.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"
#include "passthru/pci/vector_index.h"

namespace passthru::vfio_pci {

uint32_t VfioPciDevice::Impl::ConfigRead(uint16_t offset, unsigned width) {
  std::array<uint8_t, 4> buffer;
  buffer.fill(0xff);
  const absl::Span<uint8_t> data =
      absl::MakeSpan(buffer).first(std::min<size_t>(width, buffer.size()));
  if (ReadShadow(offset, data)) {
    return pci::LoadLittleEndian<uint32_t>(buffer, 0);
  }
  absl::MutexLock lock(&mutex_);
  if (!detached_) {
    RefreshMsiPending(offset, static_cast<uint32_t>(data.size()));
    if (!shadow_->NeedsDevice(offset, static_cast<uint32_t>(data.size()))) {
      ++counters_.reads_from_shadow;
      shadow_->Merge(offset, data);
    } else if (ReadDevice(offset, data)) {
      shadow_->Merge(offset, data);
    }
  }
  return pci::LoadLittleEndian<uint32_t>(buffer, 0);
}

// Answers a read from the shadow alone, and returns whether it could.
bool VfioPciDevice::Impl::ReadShadow(uint16_t offset,
                                     absl::Span<uint8_t> data) {
  const auto size = static_cast<uint32_t>(data.size());
  absl::MutexLock lock(&shadow_mutex_);
  if (detached_) return true;  // All ones.
  if (CoversMsiPending(*shadow_, offset, size) ||
      shadow_->NeedsDevice(offset, size)) {
    return false;
  }
  shadow_->Merge(offset, data);
  shadow_reads_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void VfioPciDevice::Impl::ConfigWrite(uint16_t offset,
                                      absl::Span<const uint8_t> bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) return;
    if (!shadow_->TouchesTopology(offset, size)) {
      WriteLocked(offset, bytes);
      return;
    }
  }
  const LayoutUse use(this);
  if (!use) return;
  memory::LayoutLockHolder layout(layout_lock_);
  WriteTopology(offset, bytes);
}

// The registers that determine what is mapped change only under the topology
// mutex, so the addresses computed under the control mutex stay valid after
// that is released.
void VfioPciDevice::Impl::WriteTopology(uint16_t offset,
                                        absl::Span<const uint8_t> bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  bool resets = false;
  pci::PowerState power;
  Places decoded;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) return;
    resets = shadow_->StartsReset(offset, bytes);
    power = power_state_;
    if (shadow_->CoversPowerState(offset, size)) {
      const auto control = pci::PowerManagementCapability::kControlStatus.At(
          shadow_->power_management()->offset());
      const pci::PmControlStatus written = {.raw =
                                                bytes[control.offset - offset]};
      power = written.power_state();
    }
    sizing_.OnWrite(offset, bytes, bars_);
    ConfigShadow preview = *shadow_;
    preview.Write(offset, bytes);
    decoded = Decoded(preview, power);
  }
  if (resets) {
    Retract({}).IgnoreError();  // Logged.
    ResetRetracted(ResetCause::kGuest, [&] {
      mutex_.AssertHeld();
      WriteLocked(offset, bytes);
    }).IgnoreError();  // The guest sees whether the device answers.
    mapper_->Place({});
    return;
  }
  Retract(decoded).IgnoreError();  // Logged.
  {
    absl::MutexLock lock(&mutex_);
    WriteLocked(offset, bytes);
    if (shadow_->CoversPowerState(offset, size)) {
      const bool was_off = power_state_ != pci::PowerState::kD0;
      RefreshPowerState(power);
      // Hardware takes the enable bit of MSI and MSI-X in any state. The kernel
      // enables them in D0 only (__pci_enable_msix_range()).
      if (was_off && power_state_ == pci::PowerState::kD0) mode_->Retry();
    }
    decoded = Decoded(*shadow_, power_state_);
  }
  Place(decoded);
}

absl::Status VfioPciDevice::Impl::Retract(const Places& desired) {
  if (rom_ != nullptr) rom_->Retract(desired.rom);
  return mapper_->Retract(desired.bars);
}

// The ROM comes last, so that a BAR at the same address answers.
void VfioPciDevice::Impl::Place(const Places& desired) {
  mapper_->Place(desired.bars);
  if (rom_ != nullptr) rom_->Place(desired.rom);
}

void VfioPciDevice::Impl::WriteLocked(uint16_t offset,
                                      absl::Span<const uint8_t> bytes) {
  pci::ConfigWriteResult changed;
  {
    absl::MutexLock publish(&shadow_mutex_);
    changed = shadow_->Write(offset, bytes);
  }
  const std::vector<ConfigShadow::Run> runs =
      shadow_->DeviceRuns(offset, static_cast<uint32_t>(bytes.size()));
  if (runs.empty()) ++counters_.writes_to_shadow;
  for (const ConfigShadow::Run& run : runs) {
    const auto at = static_cast<uint16_t>(offset + run.begin);
    const bool written = WriteDevice(at, bytes.subspan(run.begin, run.size));
    // COMMAND's first byte holds the decode bits.
    if (at <= pci::kCommand.offset && pci::kCommand.offset < at + run.size) {
      command_lost_ = !written;
    }
  }
  const auto& msi = shadow_->msi();
  const auto& msix = shadow_->msix();
  if ((msi.has_value() && changed.Changed(msi->offset(), msi->size())) ||
      (msix.has_value() &&
       changed.Changed(msix->offset(), pci::MsixCapability::kSize))) {
    UpdateInterrupts();
  }
  // Drivers turn on decode and bus mastering when they start. That retries
  // interrupts that failed to come up.
  if (offset <= pci::kCommand.offset &&
      pci::kCommand.offset < offset + bytes.size()) {
    const pci::Command command = {.raw = bytes[pci::kCommand.offset - offset]};
    if (pci::Command::kIoSpace.Get(command) ||
        pci::Command::kMemorySpace.Get(command) ||
        pci::Command::kBusMaster.Get(command)) {
      mode_->Retry();
    }
  }
}

void VfioPciDevice::Impl::UpdateInterrupts() {
  const pci::MsiState msi = shadow_->MsiState();
  if (msi_.group != nullptr) {
    for (uint16_t i = 0; i < msi_.group->size(); ++i) {
      const pci::VectorIndex vector(i);
      msi_.group->SetVector(vector, msi.message(vector),
                            (msi.mask_bits >> i & 1) != 0);
    }
  }
  const pci::MsixControl msix = shadow_->MsixControl();
  mode_->Apply({.msi = msi.enabled,
                .msi_vectors = msi.vector_count,
                .msix = pci::MsixControl::kEnable.Get(msix),
                .function_masked = pci::MsixControl::kFunctionMask.Get(msix)});
}

// vfio-pci drops writes of MSI-X Message Control, because it has set the bit
// itself. Other VFIO drivers need not do so.
void VfioPciDevice::Impl::WriteEnableBit(InterruptKind kind, bool enable) {
  std::array<uint8_t, 2> bytes;
  if (kind == InterruptKind::kMsi) {
    const auto reg = pci::MsiCapability::kControl.At(shadow_->msi()->offset());
    pci::MsiControl control = shadow_->Get(reg);
    pci::MsiControl::kEnable.Set(control, enable);
    pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, control.raw);
    WriteDevice(reg.offset, bytes);
  } else {
    const auto reg =
        pci::MsixCapability::kControl.At(shadow_->msix()->offset());
    pci::MsixControl control = shadow_->Get(reg);
    pci::MsixControl::kEnable.Set(control, enable);
    // The guest's function mask acts on the emulated table.
    pci::MsixControl::kFunctionMask.Set(control, false);
    pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, control.raw);
    WriteDevice(reg.offset, bytes);
  }
}

bool VfioPciDevice::Impl::CoversMsiPending(const ConfigShadow& shadow,
                                           uint32_t offset, uint32_t size) {
  const auto& msi = shadow.msi();
  if (!msi.has_value() || !msi->pending().has_value()) return false;
  const uint32_t begin = msi->pending()->At(msi->offset()).offset;
  return offset < begin + 4 && begin < offset + size;
}

void VfioPciDevice::Impl::RefreshMsiPending(uint16_t offset, uint32_t size) {
  if (!CoversMsiPending(*shadow_, offset, size)) return;
  const auto pending = static_cast<uint32_t>(
      msi_.group->Pending(pci::VectorIndex(0), msi_.group->size()));
  absl::MutexLock publish(&shadow_mutex_);
  shadow_->SetMsiPending(pending);
}

void VfioPciDevice::Impl::RefreshPowerState(pci::PowerState written) {
  // The kernel may not have made the transition. The BARs then still answer.
  const auto control = pci::PowerManagementCapability::kControlStatus.At(
      shadow_->power_management()->offset());
  std::array<uint8_t, 2> bytes;
  power_state_ = written;
  if (ReadDevice(control.offset, absl::MakeSpan(bytes))) {
    const pci::PmControlStatus now = {
        .raw = pci::LoadLittleEndian<uint16_t>(bytes, 0)};
    power_state_ = now.power_state();
  }
}

// Puts the device into D0, where a reset must end (PCI PM 1.2, 3.2.4). A device
// without a reset, or whose reset failed, is otherwise left in a power state in
// which its BARs may not answer.
void VfioPciDevice::Impl::LeavePowerSaving() {
  if (power_state_ == pci::PowerState::kD0) return;
  const auto control = pci::PowerManagementCapability::kControlStatus.At(
      shadow_->power_management()->offset());
  // The state is in the low byte. The high byte, with the wake-up events, stays
  // as it is.
  WriteDevice(control.offset, {0});
  RefreshPowerState(pci::PowerState::kD0);
}

// The device decodes as before, so its slots may go after the port's write.
void VfioPciDevice::Impl::OnUpstreamChange() {
  const LayoutUse use(this);
  if (!use) return;
  memory::LayoutLockHolder layout(layout_lock_);
  Places decoded;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) return;
    decoded = Decoded(*shadow_, power_state_);
  }
  Retract(decoded).IgnoreError();  // In the failure log.
  Place(decoded);
}

void VfioPciDevice::Impl::ReconcileBars() {
  const LayoutUse use(this);
  if (!use) return;
  memory::LayoutLockHolder layout(layout_lock_);
  Places decoded;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) return;
    RefreshDecode();
    if (shadow_->power_management().has_value()) {
      RefreshPowerState(power_state_);
    }
    decoded = Decoded(*shadow_, power_state_);
  }
  Retract(decoded).IgnoreError();  // In the failure log.
  Place(decoded);
}

// VFIO's mappings follow COMMAND as VFIO presents it. If it cannot be read, the
// device is assumed to be unchanged, because the EFAULT may be due to another
// device.
void VfioPciDevice::Impl::RefreshDecode() {
  std::array<uint8_t, 2> bytes;
  if (!ReadDevice(pci::kCommand.offset, absl::MakeSpan(bytes))) return;
  const pci::Command now = {.raw = pci::LoadLittleEndian<uint16_t>(bytes, 0)};
  command_lost_ = pci::Command::kMemorySpace.Get(shadow_->Get(pci::kCommand)) &&
                  !pci::Command::kMemorySpace.Get(now);
}

bool VfioPciDevice::Impl::Decodes(const pci::Bar& bar,
                                  const ConfigShadow& shadow,
                                  pci::PowerState power) const {
  if (command_lost_ || power == pci::PowerState::kD3Hot) return false;
  const pci::Command command = shadow.Get(pci::kCommand);
  if (bar.is_io()) {
    return pci::Command::kIoSpace.Get(command) && !sizing_.IsSized(bar.index);
  }
  if (!pci::Command::kMemorySpace.Get(command)) return false;
  // The ROM answers while both its own bit and COMMAND's enable it (PCI 3.0
  // 6.2.5.2).
  return bar.index.is_rom() ? bar.rom_enabled : !sizing_.IsSized(bar.index);
}

VfioPciDevice::Impl::Places VfioPciDevice::Impl::Decoded(
    const ConfigShadow& shadow, pci::PowerState power) const {
  Places places;
  for (const pci::Bar& bar : shadow.Bars()) {
    if (Decodes(bar, shadow, power) && Forwarded(bar)) {
      places.bars[bar.index.value()] = bar.address;
    }
  }
  const std::optional<pci::Bar> rom = shadow.Rom();
  if (rom.has_value() && Decodes(*rom, shadow, power) && Forwarded(*rom)) {
    places.rom = rom->address;
  }
  return places;
}

std::string VfioPciDevice::Impl::WhyNotForwarded(const pci::Bar& bar) const {
  if (!Decodes(bar, *shadow_, power_state_) || Forwarded(bar)) return "";
  return absl::StrFormat("its root port does not forward all of %#x to %#x",
                         bar.address, bar.address + (bar.size - 1));
}

bool VfioPciDevice::Impl::Forwarded(const pci::Bar& bar) const {
  const pci_host::Upstream* const upstream = options_.upstream;
  if (upstream == nullptr) return true;
  return bar.is_io() ? upstream->ForwardsIo(bar.address, bar.size)
                     : upstream->ForwardsMemory(bar.address, bar.size);
}

bool VfioPciDevice::Impl::ReadDevice(uint16_t offset,
                                     absl::Span<uint8_t> data) {
  ++counters_.reads_from_device;
  const absl::Status status = regions_->ReadConfig(offset, data);
  if (status.ok()) return true;
  ++counters_.failures;
  std::fill(data.begin(), data.end(), uint8_t{0xff});
  failures_.Add("a configuration read becomes all ones", status);
  return false;
}

bool VfioPciDevice::Impl::WriteDevice(uint16_t offset,
                                      absl::Span<const uint8_t> bytes) {
  ++counters_.writes_to_device;
  const absl::Status status = regions_->WriteConfig(offset, bytes);
  if (status.ok()) return true;
  ++counters_.failures;
  failures_.Add("a configuration write is dropped", status);
  return false;
}

}  // namespace passthru::vfio_pci
