// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/passthrough/device_set.h"

#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::passthrough {

DeviceSet::DeviceSet(const Options& options)
    : options_([this, &options] {
        Options completed = options;
        if (completed.vm.bar_retries == nullptr) {
          completed.vm.bar_retries = &bar_retries_;
        }
        return completed;
      }()) {}

DeviceSet::~DeviceSet() {
  absl::MutexLock lock(&mutex_);
  while (!devices_.empty()) {
    if (absl::Status status = DetachLocked(devices_.rbegin()->first);
        !status.ok()) {
      LOG(ERROR) << status;
    }
  }
}

absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> DeviceSet::Attach(
    AttachOptions options) {
  absl::MutexLock lock(&mutex_);
  const absl::Status status = AttachLocked(options);
  if (!status.ok()) {
    return kernel::Annotate(status, absl::StrCat("attaching ", options.host));
  }
  return devices_.at(options.guest).device;
}

absl::Status DeviceSet::AttachLocked(AttachOptions& options) {
  if (options.device.device != nullptr ||
      options.device.vm.syscalls != nullptr) {
    return absl::InvalidArgumentError(
        "AttachOptions::device has a device or a VM; leave both empty, because "
        "the set fills them in");
  }
  for (const auto& [guest, attached] : devices_) {
    if (attached.host == options.host) {
      return absl::AlreadyExistsError(absl::StrCat(
          options.host, " is attached already; the guest has it at ", guest));
    }
    if (guest == options.guest) {
      return absl::AlreadyExistsError(absl::StrCat(
          "the guest has ", attached.host, " at ", guest, " already"));
    }
  }
  PASSTHRU_ASSIGN_OR_RETURN(auto opened,
                            options_.dma->Open(options.host, options.vf_token));
  options.device.vm = options_.vm;
  options.device.device = std::move(opened);
  if (options.device.budget == nullptr) {
    options.device.budget = options_.budget;
  }
  absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> created =
      vfio_pci::VfioPciDevice::Create(std::move(options.device));
  absl::Status status = created.status();
  Attached attached = {
      .host = options.host,
      .bus = options.bus != nullptr ? options.bus : options_.bus};
  if (created.ok()) {
    attached.device = *std::move(created);
    status = Show(options, attached);
  }
  if (status.ok()) {
    devices_.emplace(options.guest, std::move(attached));
    return absl::OkStatus();
  }
  if (attached.device != nullptr) {
    attached.device->Detach().IgnoreError();  // Logged.
    attached.device.reset();
  }
  if (absl::Status released = options_.dma->Release(options.host);
      !released.ok()) {
    LOG(ERROR) << released;
  }
  return status;
}

absl::Status DeviceSet::Show(AttachOptions& options, Attached& attached) {
  if (options.place_bars != nullptr) {
    PASSTHRU_RETURN_IF_ERROR(options.place_bars(*attached.device));
  }
  return attached.bus->Add(options.guest, attached.device);
}

absl::Status DeviceSet::Detach(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  if (!devices_.contains(guest)) {
    return absl::NotFoundError(
        absl::StrCat("the guest has no device at ", guest));
  }
  return DetachLocked(guest);
}

absl::Status DeviceSet::DetachLocked(pci::Bdf guest) {
  auto node = devices_.extract(guest);
  Attached& attached = node.mapped();
  absl::Status first = attached.bus->Remove(guest);
  kernel::KeepFirst(first, attached.device->Detach());
  attached.device.reset();
  kernel::KeepFirst(first, options_.dma->Release(attached.host));
  return kernel::Annotate(first, absl::StrCat("detaching ", attached.host));
}

std::vector<vfio_pci::VfioPciDevice*> DeviceSet::DevicesLocked() const {
  std::vector<vfio_pci::VfioPciDevice*> devices;
  for (const auto& [guest, attached] : devices_) {
    devices.push_back(attached.device.get());
  }
  return devices;
}

absl::Status DeviceSet::Reset(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  const auto found = devices_.find(guest);
  if (found == devices_.end()) {
    return absl::NotFoundError(
        absl::StrCat("the guest has no device at ", guest));
  }
  return found->second.device->Reset(DevicesLocked());
}

absl::Status DeviceSet::ResetAll() {
  absl::MutexLock lock(&mutex_);
  return vfio_pci::VfioPciDevice::ResetAll(DevicesLocked());
}

void DeviceSet::ReconcileBars() {
  std::vector<std::shared_ptr<vfio_pci::VfioPciDevice>> devices;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [guest, attached] : devices_) {
      devices.push_back(attached.device);
    }
  }
  for (const auto& device : devices) device->ReconcileBars();
}

std::shared_ptr<vfio_pci::VfioPciDevice> DeviceSet::Find(pci::Bdf guest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = devices_.find(guest);
  return found == devices_.end() ? nullptr : found->second.device;
}

std::vector<pci::Bdf> DeviceSet::Devices() const {
  absl::MutexLock lock(&mutex_);
  std::vector<pci::Bdf> guests;
  for (const auto& [guest, attached] : devices_) guests.push_back(guest);
  return guests;
}

}  // namespace passthru::passthrough
