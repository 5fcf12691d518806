// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// Descriptors kept free for everything but interrupts: the VM, files, sockets.
constexpr uint64_t kReservedDescriptors = 256;

uint32_t EventFdLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return interrupts::InterruptBudget::kUnlimited;
  }
  const uint64_t usable =
      limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, kReservedDescriptors);
  return static_cast<uint32_t>(std::min<uint64_t>(
      std::max<uint64_t>(usable, 1), interrupts::InterruptBudget::kUnlimited));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceManager>> DeviceManager::Create(
    Machine* machine, DeviceManagerOptions options) {
  auto manager =
      absl::WrapUnique(new DeviceManager(machine, std::move(options)));
  PASSTHRU_ASSIGN_OR_RETURN(
      manager->windows_, BarWindows::Create(machine->physical_address_bits()));
  return manager;
}

DeviceManager::DeviceManager(Machine* machine, DeviceManagerOptions options)
    : machine_(machine),
      options_(std::move(options)),
      budget_({.event_fds = EventFdLimit(),
               .routes = machine->router().available()}),
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

absl::StatusOr<pci::Bdf> DeviceManager::Attach(pci::Bdf device,
                                               const BarPlacement& placement) {
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<pci::Bdf> guest = FreeSlot();
  if (!guest.ok()) {
    return kernel::Annotate(guest.status(), absl::StrCat("attaching ", device));
  }
  const auto tell = [&guest](const std::function<void(pci::Bdf)>& whom) {
    return whom == nullptr ? std::function<void()>()
                           : [guest = *guest, whom] { whom(guest); };
  };
  std::optional<allocator::Gsi> intx_gsi;
  if (options_.intx) intx_gsi = allocator::Gsi(IntxGsi(guest->device()));
  Places places;
  PASSTHRU_RETURN_IF_ERROR(
      devices_
          .Attach({.host = device,
                   .guest = *guest,
                   .place_bars =
                       [&](vfio_pci::VfioPciDevice& created) {
                         return PlaceBars(created, placement, places);
                       },
                   .intx_gsi = intx_gsi,
                   .on_unplug_request = tell(options_.on_unplug_request),
                   .on_error = tell(options_.on_error)})
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
      const absl::Status status = kernel::Annotate(
          place.status(), absl::StrCat(device.name(), " ", bar.index));
      if (required) return status;
      LOG(WARNING) << status << ". It does not answer until the guest places "
                   << "it.";
      places.unplaced.push_back(bar.index);
      continue;
    }
    PASSTHRU_RETURN_IF_ERROR(device.SetBarAddress(bar.index, place->address()));
    places.taken.push_back(*std::move(place));
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
  // The host bridge has slot 0.
  for (uint8_t slot = 1; slot < 32; ++slot) {
    const pci::Bdf bdf(machine_->segment().number(), 0, slot, 0);
    if (!places_.contains(bdf)) return bdf;
  }
  return absl::ResourceExhaustedError(
      "the guest's PCI bus is full: it has room for 31 devices");
}

}  // namespace passthru::vmm
