// SPDX-License-Identifier: Apache-2.0
//
// Where the guest finds devices, and first finds their BARs, which firmware
// decides on hardware.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/device_manager.h"

namespace passthru::vmm {

absl::StatusOr<pci::Bdf> DeviceManager::ChoosePlace(
    const AttachOptions& options) const {
  if (options.root_port.has_value()) return ChoosePlaceBehind(options);
  if (options.hot_plug) {
    return absl::InvalidArgumentError(
        "a guest that runs finds a device only behind a root port; name one");
  }
  if (!options.guest.has_value()) return machine_->segment().FreeSlot();
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

absl::Status DeviceManager::CheckPlace(pci::Bdf guest) const {
  const std::vector<pci::Bdf> functions = machine_->segment().Functions();
  const auto exists = [&functions](pci::Bdf function) {
    return std::find(functions.begin(), functions.end(), function) !=
           functions.end();
  };
  if (guest.segment() != machine_->segment().number() || guest.bus() != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the guest cannot have it at %v: the machine has only bus %04x:00",
        guest, machine_->segment().number()));
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

}  // namespace passthru::vmm
