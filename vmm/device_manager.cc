// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bar.h"
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
  PASSTHRU_ASSIGN_OR_RETURN(manager->io_, allocator::AddressAllocator::Create(
                                              kPioBase, kPioSize, "I/O BARs"));
  PASSTHRU_ASSIGN_OR_RETURN(manager->memory32_,
                            allocator::AddressAllocator::Create(
                                kMmio32Base, kMmio32Size, "32-bit BARs"));
  PASSTHRU_ASSIGN_OR_RETURN(manager->memory64_,
                            allocator::AddressAllocator::Create(
                                kMmio64Base, kMmio64Size, "64-bit BARs"));
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
            .paths = options_.paths}),
      devices_({.vm = {.syscalls = machine->syscalls(),
                       .mmio = &machine->mmio(),
                       .pio = &machine->pio(),
                       .memory = &machine->memory(),
                       .router = &machine->router(),
                       .controller = &machine->vm(),
                       .loop = &machine->loop(),
                       .layout_lock = &machine->layout_lock()},
                .dma = &dma_,
                .bus = &machine->segment(),
                .budget = &budget_}) {}

DeviceManager::~DeviceManager() = default;

absl::StatusOr<pci::Bdf> DeviceManager::Attach(pci::Bdf device) {
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
                       [this, &places](vfio_pci::VfioPciDevice& created) {
                         return PlaceBars(created, places);
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
                                      Places& places) {
  for (const pci::Bar& bar : device.bars()) {
    // A guest that enables the ROM of a device also places it.
    if (bar.index.is_rom()) continue;
    allocator::AddressAllocator& window = bar.is_io()      ? *io_
                                          : bar.is_64bit() ? *memory64_
                                                           : *memory32_;
    absl::StatusOr<allocator::AddressAllocation> place =
        window.Allocate(bar.size);
    if (!place.ok()) {
      return kernel::Annotate(place.status(),
                              absl::StrCat(device.name(), " ", bar.index));
    }
    PASSTHRU_RETURN_IF_ERROR(device.SetBarAddress(bar.index, place->address()));
    places.push_back(*std::move(place));
  }
  return absl::OkStatus();
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
