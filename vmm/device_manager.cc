// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/event_fd_limit.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// Descriptors kept free for everything but interrupts: the VM, files, sockets.
constexpr uint32_t kReservedDescriptors = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceManager>> DeviceManager::Create(
    Machine* machine, DeviceManagerOptions options) {
  PASSTHRU_ASSIGN_OR_RETURN(
      const uint32_t event_fds,
      interrupts::EventFdLimit(machine->syscalls(), kReservedDescriptors));
  auto manager = absl::WrapUnique(
      new DeviceManager(machine, std::move(options), event_fds));
  PASSTHRU_ASSIGN_OR_RETURN(manager->windows_,
                            BarWindows::Create(machine->physical_address_bits(),
                                               machine->high_ram_size()));
  PASSTHRU_RETURN_IF_ERROR(manager->CreateRootPorts());
  return manager;
}

DeviceManager::DeviceManager(Machine* machine, DeviceManagerOptions options,
                             uint32_t event_fds)
    : machine_(machine),
      options_(std::move(options)),
      lines_(&machine->vm()),
      budget_({.event_fds = event_fds}),
      dma_({.syscalls = machine->syscalls(),
            .memory = &machine->memory(),
            .vm = &machine->vm(),
            .peer_to_peer = options_.peer_to_peer,
            .paths = options_.paths}),
      devices_(
          {.vm = {.syscalls = machine->syscalls(),
                  .mmio = &machine->mmio(),
                  .pio = &machine->pio(),
                  .memory = &machine->memory(),
                  .router = &machine->router(),
                  .controller = &machine->vm(),
                  .loop = &machine->loop(),
                  .layout_lock = &machine->layout_lock(),
                  .physical_address_bits = machine->physical_address_bits()},
           .dma = &dma_,
           .bus = &machine->segment(),
           .budget = &budget_}) {}

DeviceManager::~DeviceManager() = default;

absl::StatusOr<pci::Bdf> DeviceManager::Attach(AttachOptions options) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<pci::Bdf> guest = ChoosePlace(options);
  if (!guest.ok()) {
    return kernel::Annotate(guest.status(),
                            absl::StrCat("attaching ", options.host));
  }
  AddCallbacks(*guest, options.root_port, options.device);
  pci_host::FunctionBus* bus = nullptr;
  uint8_t slot = guest->device();
  if (options.root_port.has_value()) {
    root_port::RootPort& port = root_ports_->port(*options.root_port);
    bus = port.bus();
    slot = root_ports_->place(*options.root_port).device();
    options.device.on_root_bus = false;
    options.device.upstream = &port;
  }
  // The pin of a device behind a port is the port's pin of the same number,
  // because its device number is 0 (PCI to PCI Bridge 1.2, 9.1).
  if (options_.intx && !options.device.intx_gsi.has_value()) {
    options.device.intx_gsi = allocator::Gsi(IntxGsi(slot));
  }
  Places places;
  passthrough::DeviceSet::AttachOptions attach = {
      .host = options.host,
      .guest = *guest,
      .bus = bus,
      .vf_token = std::move(options.vf_token),
      .place_bars =
          [&](vfio_pci::VfioPciDevice& created) {
            return options.hot_plug ? ClearBars(created)
                                    : PlaceBars(created, options, places);
          },
      .device = std::move(options.device)};
  PASSTHRU_RETURN_IF_ERROR(devices_.Attach(std::move(attach)).status());
  places_[*guest] = std::move(places);
  if (options.root_port.has_value()) {
    root_ports_->port(*options.root_port).Insert();
    if (!options.hot_plug) root_ports_->Reset(*options.root_port);
  }
  return *guest;
}

absl::Status DeviceManager::Detach(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  return DetachLocked(guest);
}

absl::Status DeviceManager::DetachLocked(pci::Bdf guest) {
  const std::optional<size_t> number = root_ports_->PortOf(guest);
  if (!number.has_value() || devices_.Find(guest) == nullptr) {
    absl::Status status = devices_.Detach(guest);
    places_.erase(guest);
    return status;
  }
  root_port::RootPort& port = root_ports_->port(*number);
  port.Remove();
  absl::Status first;
  for (const uint8_t function : port.Functions()) {
    const pci::Bdf behind = root_ports_->Behind(*number, function);
    kernel::KeepFirst(first, devices_.Detach(behind));
    places_.erase(behind);
  }
  return first;
}

absl::Status DeviceManager::Reset() {
  absl::MutexLock lock(&mutex_);
  absl::Status first;
  for (size_t port = 0; port < root_ports_->size(); ++port) {
    if (!root_ports_->port(port).removal_requested()) continue;
    kernel::KeepFirst(first, DetachLocked(root_ports_->Behind(port)));
  }
  kernel::KeepFirst(first, devices_.ResetAll());
  root_ports_->ResetAll();
  for (const auto& [guest, places] : places_) {
    const auto device = devices_.Find(guest);
    for (const Place& place : places.taken) {
      kernel::KeepFirst(
          first, device->SetBarAddress(place.bar, place.address.address()));
    }
  }
  return first;
}

void DeviceManager::OnMemoryFault() {
  devices_.ReconcileBars();
  // Devices that were unplugged may have left slots behind.
  machine_->memory().RetryRemovals().IgnoreError();  // Logged.
}

std::vector<pci::BarIndex> DeviceManager::UnplacedBars(pci::Bdf guest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = places_.find(guest);
  if (found == places_.end()) return {};
  return found->second.unplaced;
}

}  // namespace passthru::vmm
