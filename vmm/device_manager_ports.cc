// SPDX-License-Identifier: Apache-2.0
//
// The devices behind root ports: how the guest is asked for them, and the reset
// of the bus behind a port.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/root_port/root_port.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {

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

absl::StatusOr<root_port::RootPort*> DeviceManager::PortWithDevice(
    pci::Bdf guest) {
  const std::optional<size_t> number = root_ports_->PortOf(guest);
  if (!number.has_value() || devices_.Find(guest) == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("the guest has no device behind a root port at ", guest));
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

}  // namespace passthru::vmm
