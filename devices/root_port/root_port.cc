// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/root_port.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/root_port/root_port_config.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/pcie_port.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"

namespace passthru::root_port {
namespace {

// RootPort::route_.
struct Route {
  uint8_t secondary = 0;
  uint8_t subordinate = 0;
  bool open = false;  // whether the functions can be reached
};

uint32_t Pack(const Route& route) {
  return uint32_t{route.secondary} | uint32_t{route.subordinate} << 8 |
         uint32_t{route.open} << 16;
}

Route Unpack(uint32_t packed) {
  return {.secondary = static_cast<uint8_t>(packed),
          .subordinate = static_cast<uint8_t>(packed >> 8),
          .open = (packed >> 16 & 1) != 0};
}

// Returns where a function is in the table of the secondary bus.
pci::Bdf PlaceOf(pci::Bdf bdf) { return pci::Bdf(0, 0, 0, bdf.function()); }

pci::MsiCapability ParseMsi(const pci::ConfigSpace& config) {
  const absl::StatusOr<pci::MsiCapability> msi =
      pci::MsiCapability::Parse(config.bytes(), kMsiOffset);
  CHECK_OK(msi);
  return *msi;
}

// Sets a field back to its value in `before` if the guest wrote a value that is
// reserved.
template <typename Register, typename Field>
void KeepIfReserved(pci::ConfigSpace& config, pci::ConfigReg<Register> reg,
                    Register before, Field field, bool reserved) {
  if (reserved) config.Set(reg, field.With(config.Get(reg), field.Get(before)));
}

}  // namespace

absl::Status RootPort::SecondaryBus::Add(
    pci::Bdf bdf, std::shared_ptr<pci_host::PciFunction> function) {
  // A link leads to one device (PCIe 6.0 7.3.1).
  if (bdf.device() != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is only device 0 behind a root port, and not ", bdf));
  }
  return functions_.Add(PlaceOf(bdf), std::move(function));
}

absl::Status RootPort::SecondaryBus::Remove(pci::Bdf bdf) {
  if (bdf.device() != 0) {
    return absl::NotFoundError(
        absl::StrCat("there is no PCI function at ", bdf));
  }
  return functions_.Remove(PlaceOf(bdf));
}

RootPort::RootPort(Options options)
    : name_(std::move(options.name)),
      port_number_(options.port_number),
      slot_number_(options.slot_number),
      on_removal_permitted_(std::move(options.on_removal_permitted)),
      reset_bus_(std::move(options.reset_bus)),
      failures_(name_),
      interrupt_(options.controller, std::move(options.line), &failures_),
      config_(MakeRootPortConfig({.port_number = port_number_,
                                  .slot_number = slot_number_,
                                  .has_pin = interrupt_.has_line()})),
      msi_(ParseMsi(config_)) {
  absl::MutexLock lock(&mutex_);
  slot_.Reset(Controls());
  Publish({});
}

RootPort::~RootPort() = default;

std::vector<uint8_t> RootPort::Functions() const {
  std::vector<uint8_t> numbers;
  for (const pci::Bdf bdf : bus_.functions().Functions()) {
    numbers.push_back(bdf.function());
  }
  return numbers;
}

absl::Status RootPort::Reset(const Resources& resources) {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    pci::ConfigSpace config =
        MakeRootPortConfig({.port_number = port_number_,
                            .slot_number = slot_number_,
                            .has_pin = interrupt_.has_line()});
    if (absl::Status status = resources.windows.Write(config); !status.ok()) {
      return kernel::Annotate(status, name_);
    }
    config.Set(pci::kSecondaryBus, resources.secondary_bus);
    config.Set(pci::kSubordinateBus, resources.subordinate_bus);
    pci::Command command;
    pci::Command::kBusMaster.Set(command, true);
    pci::Command::kMemorySpace.Set(command, true);
    pci::Command::kIoSpace.Set(command, true);
    config.Set(pci::kCommand, command);
    if (slot_.card_present()) {
      pci::PcieSlotControl control = config.Get(kSlotControl);
      pci::PcieSlotControl::kPowerOff.Set(control, false);
      pci::PcieSlotControl::kPowerIndicator.Set(
          control, static_cast<uint32_t>(pci::PcieIndicator::kOn));
      config.Set(kSlotControl, control);
    }
    config_ = std::move(config);
    slot_.Reset(Controls());
    actions = Publish({});
  }
  Perform(actions);
  return absl::OkStatus();
}

void RootPort::Insert() {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    actions = Publish(slot_.Insert());
  }
  Perform(actions);
}

void RootPort::Remove() {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    actions = Publish(slot_.Remove());
  }
  Perform(actions);
}

absl::Status RootPort::RequestRemoval() {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    const absl::StatusOr<HotPlugSlot::Changes> changes = slot_.RequestRemoval();
    if (!changes.ok()) return kernel::Annotate(changes.status(), name_);
    actions = Publish(*changes);
  }
  Perform(actions);
  return absl::OkStatus();
}

absl::Status RootPort::CancelRemoval() {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    const absl::StatusOr<HotPlugSlot::Changes> changes = slot_.CancelRemoval();
    if (!changes.ok()) return kernel::Annotate(changes.status(), name_);
    actions = Publish(*changes);
  }
  Perform(actions);
  return absl::OkStatus();
}

void RootPort::FailPower() {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    actions = Publish(slot_.FailPower());
  }
  Perform(actions);
}

bool RootPort::card_present() const {
  absl::MutexLock lock(&mutex_);
  return slot_.card_present();
}

bool RootPort::link_active() const {
  absl::MutexLock lock(&mutex_);
  return slot_.link_active();
}

bool RootPort::removal_pending() const {
  absl::MutexLock lock(&mutex_);
  return slot_.removal_pending();
}

bool RootPort::removal_requested() const {
  absl::MutexLock lock(&mutex_);
  return slot_.removal_requested();
}

uint32_t RootPort::ConfigRead(uint16_t offset, unsigned width) {
  absl::MutexLock lock(&mutex_);
  return config_.Read(offset, width);
}

void RootPort::ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) {
  Actions actions;
  {
    absl::MutexLock lock(&mutex_);
    const pci::PcieSlotControl slot_control = config_.Get(kSlotControl);
    const pci::PmControlStatus power = config_.Get(kPowerControl);
    if (!config_.Write(offset, bytes).any()) return;
    const pci::PcieSlotControl written = config_.Get(kSlotControl);
    KeepIfReserved(config_, kSlotControl, slot_control,
                   pci::PcieSlotControl::kPowerIndicator,
                   pci::PcieSlotControl::kPowerIndicator.Get(written) == 0);
    KeepIfReserved(config_, kSlotControl, slot_control,
                   pci::PcieSlotControl::kAttentionIndicator,
                   pci::PcieSlotControl::kAttentionIndicator.Get(written) == 0);
    // A state that the function does not have is ignored (PCI PM 1.2, 3.2.4).
    const pci::PowerState state = config_.Get(kPowerControl).power_state();
    KeepIfReserved(
        config_, kPowerControl, power, pci::PmControlStatus::kPowerState,
        state == pci::PowerState::kD1 || state == pci::PowerState::kD2);
    actions = Publish(slot_.Apply(Controls()));
  }
  Perform(actions);
}

bool RootPort::Forwards(uint8_t bus) const {
  const Route route = Unpack(route_.load());
  return route.secondary != 0 && route.secondary <= bus &&
         bus <= route.subordinate;
}

void RootPort::ForwardRead(pci::Bdf bdf, uint16_t offset,
                           absl::Span<uint8_t> data) {
  const Route route = Unpack(route_.load());
  // Without a bridge on the secondary bus there is nothing on further buses.
  if (!route.open || bdf.bus() != route.secondary || bdf.device() != 0) return;
  bus_.functions().ConfigRead(PlaceOf(bdf), offset, data);
}

void RootPort::ForwardWrite(pci::Bdf bdf, uint16_t offset,
                            absl::Span<const uint8_t> data) {
  const Route route = Unpack(route_.load());
  if (!route.open || bdf.bus() != route.secondary || bdf.device() != 0) return;
  bus_.functions().ConfigWrite(PlaceOf(bdf), offset, data);
}

bool RootPort::ForwardsMemory(uint64_t address, uint64_t size) const {
  absl::MutexLock lock(&forwarding_mutex_);
  return forwarding_.memory &&
         (forwarding_.windows.memory.Contains(address, size) ||
          forwarding_.windows.prefetchable.Contains(address, size));
}

bool RootPort::ForwardsIo(uint64_t address, uint64_t size) const {
  absl::MutexLock lock(&forwarding_mutex_);
  if (!forwarding_.io || !forwarding_.windows.io.Contains(address, size)) {
    return false;
  }
  // Of each KiB the port then forwards the first 256 bytes (PCI to PCI Bridge
  // 1.2, 3.2.5.18).
  constexpr uint64_t kPerKilobyte = 0x100;
  return !forwarding_.isa || (address & 0x3ff) + size <= kPerKilobyte;
}

HotPlugSlot::Controls RootPort::Controls() const {
  const pci::PcieSlotControl slot = config_.Get(kSlotControl);
  return {.power_off = pci::PcieSlotControl::kPowerOff.Get(slot),
          .power_indicator = slot.power_indicator(),
          .link_disabled =
              pci::PcieLinkControl::kLinkDisable.Get(config_.Get(kLinkControl)),
          .bus_reset = pci::BridgeControl::kSecondaryBusReset.Get(
              config_.Get(pci::kBridgeControl))};
}

// In D3hot a bridge forwards nothing (PCI PM 1.2, 5.6.1).
RootPort::Forwarding RootPort::CurrentForwarding() const {
  if (!slot_.link_active() ||
      config_.Get(kPowerControl).power_state() != pci::PowerState::kD0) {
    return {};
  }
  const pci::Command command = config_.Get(pci::kCommand);
  return {.memory = pci::Command::kMemorySpace.Get(command),
          .io = pci::Command::kIoSpace.Get(command),
          .isa = pci::BridgeControl::kIsaEnable.Get(
              config_.Get(pci::kBridgeControl)),
          .windows = pci::BridgeWindows::Read(config_.bytes())};
}

RootPort::Actions RootPort::Publish(const HotPlugSlot::Changes& changes) {
  pci::PcieSlotStatus status = config_.Get(kSlotStatus);
  status.raw |= changes.events.raw;
  pci::PcieSlotStatus::kCardPresent.Set(status, slot_.card_present());
  config_.Set(kSlotStatus, status);
  config_.Set(kLinkStatus, pci::PcieLinkStatus::kLinkActive.With(
                               config_.Get(kLinkStatus), slot_.link_active()));
  UpdateInterrupt();
  route_.store(Pack({.secondary = config_.Get(pci::kSecondaryBus),
                     .subordinate = config_.Get(pci::kSubordinateBus),
                     .open = slot_.link_active() &&
                             config_.Get(kPowerControl).power_state() ==
                                 pci::PowerState::kD0}));
  Actions actions = {.reset_bus = changes.link_went_down,
                     .removal_permitted = changes.removal_permitted};
  const Forwarding forwarding = CurrentForwarding();
  absl::MutexLock lock(&forwarding_mutex_);
  actions.forwarding_changed = forwarding != forwarding_;
  forwarding_ = forwarding;
  return actions;
}

void RootPort::UpdateInterrupt() {
  // In D3hot a function initiates no requests but PME (PCIe 6.0 5.3.1.4.1).
  const bool event =
      pci::HotPlugInterrupt(config_.Get(kSlotControl),
                            config_.Get(kSlotStatus)) &&
      config_.Get(kPowerControl).power_state() == pci::PowerState::kD0;
  const pci::Command command = config_.Get(pci::kCommand);
  const pci::MsiState msi =
      msi_.Decode(config_.bytes().subspan(kMsiOffset, msi_.size()));
  interrupt_.Update(
      {.event = event,
       .bus_master = pci::Command::kBusMaster.Get(command),
       .intx_disabled = pci::Command::kInterruptDisable.Get(command),
       .msi = msi});
  config_.Set(msi_.pending()->At(kMsiOffset),
              uint32_t{interrupt_.msi_pending()});
  // The bit tells of INTx whether or not it is disabled (PCIe 6.0 7.5.1.1.4).
  config_.Set(pci::kStatus,
              pci::Status::kInterruptStatus.With(
                  config_.Get(pci::kStatus),
                  event && !msi.enabled && interrupt_.has_line()));
}

// The functions first stop to answer, and are then reset. Meanwhile the link
// stays down, whatever other vCPUs do.
void RootPort::Perform(const Actions& actions) {
  if (actions.forwarding_changed) {
    bus_.functions().ForEach(
        [](pci_host::PciFunction& function) { function.OnUpstreamChange(); });
  }
  if (actions.reset_bus) {
    if (reset_bus_ != nullptr) reset_bus_();
    Actions next;
    {
      absl::MutexLock lock(&mutex_);
      next = Publish(slot_.FinishReset());
    }
    // The link may come up now, which resets nothing.
    Perform(next);
  }
  if (actions.removal_permitted && on_removal_permitted_ != nullptr) {
    on_removal_permitted_();
  }
}

}  // namespace passthru::root_port
