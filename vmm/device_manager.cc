// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/event_fd_limit.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// Descriptors kept free for everything but interrupts: the VM, files, sockets.
constexpr uint32_t kReservedDescriptors = 256;

// A bus has 32 slots, of which the host bridge has the first.
constexpr uint8_t kSlots = 32;

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

absl::Status DeviceManager::CreateRootPorts() {
  PASSTHRU_ASSIGN_OR_RETURN(
      root_ports_,
      RootPorts::Create(
          {.segment = &machine_->segment(),
           .windows = windows_.get(),
           .controller = &machine_->vm(),
           .lines = options_.intx ? &lines_ : nullptr,
           .on_removal_permitted =
               [this](size_t port) {
                 if (options_.on_unplug_permitted == nullptr) return;
                 options_.on_unplug_permitted(root_ports_->Behind(port));
               },
           .reset_bus = [this](size_t port) { ResetBehind(port); }},
          options_.root_ports));
  return absl::OkStatus();
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

void DeviceManager::AddCallbacks(pci::Bdf guest, std::optional<size_t> port,
                                 vfio_pci::VfioPciDevice::Options& device) {
  const auto tell = [guest](std::function<void()>& own,
                            const std::function<void(pci::Bdf)>& whom) {
    if (own == nullptr && whom != nullptr) {
      own = [guest, whom] { whom(guest); };
    }
  };
  if (port.has_value() && device.on_unplug_request == nullptr) {
    device.on_unplug_request = [this, guest, number = *port] {
      const absl::Status status = root_ports_->port(number).RequestRemoval();
      // The host repeats its request.
      if (!status.ok() && !absl::IsAlreadyExists(status)) {
        failures_.Add(absl::StrCat("the guest is not asked for the device at ",
                                   guest, ", which the host wants back"),
                      status);
      }
      if (options_.on_unplug_request != nullptr) {
        options_.on_unplug_request(guest);
      }
    };
  }
  tell(device.on_unplug_request, options_.on_unplug_request);
  tell(device.on_error, options_.on_error);
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

absl::StatusOr<root_port::RootPort*> DeviceManager::PortWithDevice(
    pci::Bdf guest) {
  const std::optional<size_t> number = root_ports_->PortOf(guest);
  if (!number.has_value() || devices_.Find(guest) == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("no device behind a root port at guest ", guest));
  }
  return &root_ports_->port(*number);
}

absl::Status DeviceManager::RequestUnplug(pci::Bdf guest) {
  PASSTHRU_ASSIGN_OR_RETURN(root_port::RootPort * port, PortWithDevice(guest));
  return port->RequestRemoval();
}

absl::Status DeviceManager::CancelUnplug(pci::Bdf guest) {
  PASSTHRU_ASSIGN_OR_RETURN(root_port::RootPort * port, PortWithDevice(guest));
  return port->CancelRemoval();
}

// Runs on a vCPU, which no thread that attaches or detaches waits for. A hot
// reset reaches all functions of the host's bus. If the guest has one of them
// elsewhere, the device is only stopped.
void DeviceManager::ResetBehind(size_t port) {
  std::map<pci::Bdf, std::shared_ptr<vfio_pci::VfioPciDevice>> devices;
  std::set<pci::Bdf> hosts;
  for (const uint8_t function : root_ports_->port(port).Functions()) {
    const pci::Bdf guest = root_ports_->Behind(port, function);
    const auto device = devices_.Find(guest);
    if (device == nullptr) continue;
    hosts.insert(device->host());
    devices.emplace(guest, device);
  }
  for (const auto& [guest, device] : devices) {
    absl::Status status;
    for (const vfio::HotResetDevice& other :
         device->Describe().reset.also_resets) {
      if (hosts.contains(other.address)) continue;
      status = absl::FailedPreconditionError(
          absl::StrCat("it has no reset of its own, and a hot reset would "
                       "reset ",
                       other.address));
    }
    if (status.ok()) {
      status = devices_.Reset(guest);
    } else {
      device->ConfigWrite(pci::kCommand.offset, std::array<uint8_t, 2>{0, 0});
    }
    if (!status.ok() && !absl::IsNotFound(status)) {
      failures_.Add(absl::StrCat("the device at ", guest,
                                 " keeps its state in a reset of the bus "
                                 "behind root port ",
                                 port),
                    status);
    }
  }
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

// A card that was just plugged in has no addresses (PCIe 6.0 6.6.1).
absl::Status DeviceManager::ClearBars(vfio_pci::VfioPciDevice& device) {
  for (const pci::Bar& bar : device.bars()) {
    PASSTHRU_RETURN_IF_ERROR(device.SetBarAddress(bar.index, 0));
  }
  return absl::OkStatus();
}

absl::Status DeviceManager::PlaceBars(vfio_pci::VfioPciDevice& device,
                                      const AttachOptions& options,
                                      Places& places) {
  std::optional<vfio::IommuInfo> iommu;
  if (options_.peer_to_peer) iommu = dma_.iommu();
  for (const pci::Bar& bar : device.bars()) {
    // A guest that enables the ROM of a device also places it.
    if (bar.index.is_rom()) continue;
    bool required = false;
    absl::StatusOr<allocator::AddressAllocation> place =
        FindPlace(bar, options, iommu, &required);
    if (!place.ok()) {
      absl::Status status = kernel::Annotate(
          place.status(), absl::StrCat(device.name(), " ", bar.index));
      if (required) return status;
      LOG(WARNING) << status << ". It does not answer until the guest places "
                   << "it.";
      places.unplaced.push_back(bar.index);
      continue;
    }
    PASSTHRU_RETURN_IF_ERROR(device.SetBarAddress(bar.index, place->address()));
    places.taken.push_back({.bar = bar.index, .address = *std::move(place)});
  }
  return absl::OkStatus();
}

absl::StatusOr<allocator::AddressAllocation> DeviceManager::FindPlace(
    const pci::Bar& bar, const AttachOptions& options,
    const std::optional<vfio::IommuInfo>& iommu, bool* required) {
  const BarPlacement& placement = options.bars;
  const auto fixed = placement.fixed.find(bar.index);
  std::optional<uint64_t> address;
  if (fixed != placement.fixed.end()) {
    address = fixed->second;
  } else if (placement.as_on_host && !bar.is_io()) {
    address = bar.address;
  }
  *required = address.has_value();
  if (*required && fixed == placement.fixed.end() && *address == 0) {
    return absl::FailedPreconditionError(
        "cannot be where the host has it, because VFIO does not tell where "
        "that is: give its address");
  }
  if (options.root_port.has_value()) {
    return root_ports_->PlaceBar(*options.root_port, bar, address);
  }
  return address.has_value() ? windows_->PlaceAt(bar, *address)
                             : windows_->Place(bar, iommu);
}

std::vector<pci::BarIndex> DeviceManager::UnplacedBars(pci::Bdf guest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = places_.find(guest);
  if (found == places_.end()) return {};
  return found->second.unplaced;
}

absl::StatusOr<pci::Bdf> DeviceManager::ChoosePlace(
    const AttachOptions& options) const {
  if (options.root_port.has_value()) return ChoosePlaceBehind(options);
  if (options.hot_plug) {
    return absl::InvalidArgumentError(
        "a guest that runs finds a device only behind a root port; name one");
  }
  if (!options.guest.has_value()) return FreeSlot();
  PASSTHRU_RETURN_IF_ERROR(CheckPlace(*options.guest));
  return *options.guest;
}

absl::StatusOr<pci::Bdf> DeviceManager::ChoosePlaceBehind(
    const AttachOptions& options) const {
  const size_t port = *options.root_port;
  if (port >= root_ports_->size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("there is no root port %d: the machine has %d", port,
                        root_ports_->size()));
  }
  const pci::Bdf first = root_ports_->Behind(port);
  const pci::Bdf guest = options.guest.value_or(first);
  if (root_ports_->PortOf(guest) != port) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%v is not behind root port %d, whose functions are from %v on", guest,
        port, first));
  }
  if (options.hot_plug &&
      (!options.bars.fixed.empty() || options.bars.as_on_host)) {
    return absl::InvalidArgumentError(
        "the guest places the BARs of a card that is plugged; give no "
        "addresses");
  }
  if (options.hot_plug && guest != first) {
    return absl::InvalidArgumentError(
        absl::StrCat("the guest would not find it at ", guest,
                     ", because only function 0 announces a card"));
  }
  if (guest != first && devices_.Find(first) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the guest would not find it at ", guest,
        ", because it has no function at ", first, "; attach that one first"));
  }
  return guest;
}

absl::StatusOr<pci::Bdf> DeviceManager::FreeSlot() const {
  // The machine's owner may have added functions of its own.
  std::vector<bool> taken(kSlots);
  for (const pci::Bdf& function : machine_->segment().Functions()) {
    if (function.bus() == 0) taken[function.device()] = true;
  }
  for (uint8_t slot = 0; slot < kSlots; ++slot) {
    if (!taken[slot]) {
      return pci::Bdf(machine_->segment().number(), 0, slot, 0);
    }
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the guest's PCI bus is full: each of its %d slots has a function",
      kSlots));
}

absl::Status DeviceManager::CheckPlace(pci::Bdf guest) const {
  const std::vector<pci::Bdf> functions = machine_->segment().Functions();
  const auto exists = [&functions](pci::Bdf function) {
    return std::find(functions.begin(), functions.end(), function) !=
           functions.end();
  };
  if (guest.segment() != machine_->segment().number() || guest.bus() != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the guest cannot have it at ", guest, ": the machine has only bus ",
        pci::Bdf(machine_->segment().number(), 0, 0, 0)
            .ToString()
            .substr(0, 7)));
  }
  if (exists(guest)) {
    return absl::AlreadyExistsError(
        absl::StrCat("the guest has a function at ", guest, " already"));
  }
  const pci::Bdf first(guest.segment(), 0, guest.device(), 0);
  if (guest.function() != 0 && !exists(first)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the guest would not find it at ", guest,
        ", because it has no function at ", first, "; attach that one first"));
  }
  return absl::OkStatus();
}

}  // namespace passthru::vmm
