// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
#include "passthru/pci/bar.h"
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
  PASSTHRU_ASSIGN_OR_RETURN(
      manager->windows_, BarWindows::Create(machine->physical_address_bits()));
  return manager;
}

DeviceManager::DeviceManager(Machine* machine, DeviceManagerOptions options,
                             uint32_t event_fds)
    : machine_(machine),
      options_(std::move(options)),
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
  absl::StatusOr<pci::Bdf> guest = FreeSlot();
  if (options.guest.has_value()) {
    guest = *options.guest;
    if (absl::Status status = CheckPlace(*guest); !status.ok()) guest = status;
  }
  if (!guest.ok()) {
    return kernel::Annotate(guest.status(),
                            absl::StrCat("attaching ", options.host));
  }
  const auto tell = [&guest](std::function<void()>& own,
                             const std::function<void(pci::Bdf)>& whom) {
    if (own == nullptr && whom != nullptr) {
      own = [guest = *guest, whom] { whom(guest); };
    }
  };
  tell(options.device.on_unplug_request, options_.on_unplug_request);
  tell(options.device.on_error, options_.on_error);
  if (options_.intx && !options.device.intx_gsi.has_value()) {
    options.device.intx_gsi = allocator::Gsi(IntxGsi(guest->device()));
  }
  Places places;
  PASSTHRU_RETURN_IF_ERROR(
      devices_
          .Attach({.host = options.host,
                   .guest = *guest,
                   .vf_token = std::move(options.vf_token),
                   .place_bars =
                       [&](vfio_pci::VfioPciDevice& created) {
                         return PlaceBars(created, options.bars, places);
                       },
                   .device = std::move(options.device)})
          .status());
  places_[*guest] = std::move(places);
  return *guest;
}

absl::Status DeviceManager::Detach(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  absl::Status status = devices_.Detach(guest);
  places_.erase(guest);
  return status;
}

absl::Status DeviceManager::Reset() {
  absl::MutexLock lock(&mutex_);
  absl::Status first = devices_.ResetAll();
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

absl::Status DeviceManager::PlaceBars(vfio_pci::VfioPciDevice& device,
                                      const BarPlacement& placement,
                                      Places& places) {
  std::optional<vfio::IommuInfo> iommu;
  if (options_.peer_to_peer) iommu = dma_.iommu();
  for (const pci::Bar& bar : device.bars()) {
    // A guest that enables the ROM of a device also places it.
    if (bar.index.is_rom()) continue;
    bool required = false;
    absl::StatusOr<allocator::AddressAllocation> place =
        FindPlace(bar, placement, iommu, &required);
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
    const pci::Bar& bar, const BarPlacement& placement,
    const std::optional<vfio::IommuInfo>& iommu, bool* required) {
  const auto fixed = placement.fixed.find(bar.index);
  *required =
      fixed != placement.fixed.end() || (placement.as_on_host && !bar.is_io());
  if (fixed != placement.fixed.end()) {
    return windows_->PlaceAt(bar, fixed->second);
  }
  if (!*required) return windows_->Place(bar, iommu);
  if (bar.address == 0) {
    return absl::FailedPreconditionError(
        "cannot be where the host has it, because VFIO does not tell where "
        "that is: give its address");
  }
  return windows_->PlaceAt(bar, bar.address);
}

std::vector<pci::BarIndex> DeviceManager::UnplacedBars(pci::Bdf guest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = places_.find(guest);
  if (found == places_.end()) return {};
  return found->second.unplaced;
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
