// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/device_manager.h"

#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/pci/bar.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// Descriptors that are not interrupts': the VM's own, files, sockets.
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

// Keeps the first failure of a teardown that goes on.
void KeepFirst(absl::Status& first, absl::Status next) {
  if (next.ok()) return;
  if (first.ok()) {
    first = std::move(next);
  } else {
    LOG(ERROR) << next;
  }
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
  manager->budget_ = std::make_unique<interrupts::InterruptBudget>(
      interrupts::InterruptBudget::Limits{
          .event_fds = EventFdLimit(),
          .routes = machine->router().available()});
  return manager;
}

DeviceManager::DeviceManager(Machine* machine, DeviceManagerOptions options)
    : machine_(machine), options_(std::move(options)) {}

DeviceManager::~DeviceManager() {
  absl::MutexLock lock(&mutex_);
  while (!devices_.empty()) {
    if (absl::Status status = DetachLocked(devices_.rbegin()->first);
        !status.ok()) {
      LOG(ERROR) << status;
    }
  }
}

absl::StatusOr<pci::Bdf> DeviceManager::Attach(pci::Bdf device) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<pci::Bdf> guest = AttachLocked(device);
  if (guest.ok()) return guest;
  return kernel::Annotate(guest.status(), absl::StrCat("attaching ", device));
}

absl::StatusOr<pci::Bdf> DeviceManager::AttachLocked(pci::Bdf device) {
  for (const auto& [guest, attached] : devices_) {
    if (attached.host == device) {
      return absl::AlreadyExistsError(absl::StrCat(
          device, " is attached already; the guest has it at ", guest));
    }
  }
  PASSTHRU_ASSIGN_OR_RETURN(const auto guest, FreeSlot());
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto number,
      vfio::FindGroup(machine_->syscalls(), device, options_.paths));
  // What KVM kept of a device that was unplugged keeps its group busy.
  machine_->memory().RetryRemovals().IgnoreError();  // Logged.
  PASSTHRU_ASSIGN_OR_RETURN(auto group, AcquireGroup(number));
  auto attached = AttachInGroup(device, number, guest);
  absl::Status status = attached.status();
  if (status.ok()) status = PlaceBars(*attached);
  if (status.ok()) status = machine_->segment().Add(guest, attached->device);
  if (!status.ok()) {
    if (attached.ok()) attached->device->Detach().IgnoreError();  // Logged.
    group.reset();
    if (absl::Status released = ReleaseGroup(number); !released.ok()) {
      LOG(ERROR) << released;
    }
    return status;
  }
  devices_.emplace(guest, *std::move(attached));
  return guest;
}

absl::Status DeviceManager::Detach(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  if (!devices_.contains(guest)) {
    return absl::NotFoundError(absl::StrCat("no device at guest ", guest));
  }
  return DetachLocked(guest);
}

absl::Status DeviceManager::DetachLocked(pci::Bdf guest) {
  auto node = devices_.extract(guest);
  Attached& attached = node.mapped();
  absl::Status first = machine_->segment().Remove(guest);
  KeepFirst(first, attached.device->Detach());
  attached.device.reset();
  KeepFirst(first, ReleaseGroup(attached.group));
  return kernel::Annotate(first, absl::StrCat("detaching ", attached.host));
}

void DeviceManager::OnMemoryFault() {
  std::vector<std::shared_ptr<vfio_pci::VfioPciDevice>> devices;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [guest, attached] : devices_) {
      devices.push_back(attached.device);
    }
  }
  for (const auto& device : devices) device->ReconcileBars();
  // Of devices that were unplugged.
  machine_->memory().RetryRemovals().IgnoreError();  // Logged.
}

std::shared_ptr<vfio_pci::VfioPciDevice> DeviceManager::Find(
    pci::Bdf guest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = devices_.find(guest);
  return found == devices_.end() ? nullptr : found->second.device;
}

std::vector<pci::Bdf> DeviceManager::Devices() const {
  absl::MutexLock lock(&mutex_);
  std::vector<pci::Bdf> guests;
  for (const auto& [guest, attached] : devices_) guests.push_back(guest);
  return guests;
}

absl::StatusOr<std::shared_ptr<vfio::VfioGroup>> DeviceManager::AcquireGroup(
    uint32_t number) {
  GroupInUse& in_use = groups_[number];
  if (in_use.devices > 0) {
    ++in_use.devices;
    return in_use.group;
  }
  // Everything below is undone by ReleaseGroup(), however far it came.
  in_use.devices = 1;
  absl::Status status = OpenGroup(number, in_use);
  if (status.ok()) status = kvm_vfio_->AddGroup(in_use.group->fd());
  if (!status.ok()) {
    if (absl::Status released = ReleaseGroup(number); !released.ok()) {
      LOG(ERROR) << released;
    }
    return status;
  }
  in_use.known_to_kvm = true;
  return in_use.group;
}

absl::Status DeviceManager::OpenGroup(uint32_t number, GroupInUse& in_use) {
  if (container_ == nullptr) {
    PASSTHRU_ASSIGN_OR_RETURN(
        container_,
        vfio::VfioContainer::Create(machine_->syscalls(), options_.paths));
    group_set_ =
        std::make_unique<vfio::VfioGroupSet>(container_, options_.paths);
  }
  PASSTHRU_ASSIGN_OR_RETURN(in_use.group, group_set_->Get(number));
  return StartDma();
}

absl::Status DeviceManager::ReleaseGroup(uint32_t number) {
  GroupInUse& in_use = groups_[number];
  if (--in_use.devices > 0) return absl::OkStatus();
  absl::Status first;
  if (in_use.known_to_kvm) {
    first = kvm_vfio_->RemoveGroup(in_use.group->fd());
  }
  if (groups_.size() == 1) KeepFirst(first, StopDma());
  groups_.erase(number);
  if (groups_.empty()) {
    kvm_vfio_.reset();
    group_set_.reset();
    container_.reset();
  }
  return first;
}

absl::Status DeviceManager::StartDma() {
  if (dma_ != nullptr) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(kvm_vfio_,
                            kvm::KvmVfioDevice::Create(&machine_->vm()));
  auto dma = std::make_unique<vfio::DmaListener>(container_);
  PASSTHRU_RETURN_IF_ERROR(machine_->memory().AddListener(dma.get()));
  dma_ = std::move(dma);
  return absl::OkStatus();
}

absl::Status DeviceManager::StopDma() {
  if (dma_ == nullptr) return absl::OkStatus();
  absl::Status status = machine_->memory().RemoveListener(dma_.get());
  dma_.reset();
  return status;
}

absl::StatusOr<DeviceManager::Attached> DeviceManager::AttachInGroup(
    pci::Bdf device, uint32_t number, pci::Bdf guest) {
  PASSTHRU_ASSIGN_OR_RETURN(
      auto opened, vfio::VfioDevice::Open(groups_[number].group, device));
  const auto tell = [guest](const std::function<void(pci::Bdf)>& whom) {
    return whom == nullptr ? std::function<void()>()
                           : [guest, whom] { whom(guest); };
  };
  std::optional<allocator::Gsi> intx_gsi;
  if (options_.intx) intx_gsi = allocator::Gsi(IntxGsi(guest.device()));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto created, vfio_pci::VfioPciDevice::Create({
                        .syscalls = machine_->syscalls(),
                        .device = std::move(opened),
                        .mmio = &machine_->mmio(),
                        .pio = &machine_->pio(),
                        .memory = &machine_->memory(),
                        .router = &machine_->router(),
                        .controller = &machine_->vm(),
                        .loop = &machine_->loop(),
                        .topology_mutex = &machine_->topology_mutex(),
                        .intx_gsi = intx_gsi,
                        .budget = budget_.get(),
                        .on_unplug_request = tell(options_.on_unplug_request),
                        .on_error = tell(options_.on_error),
                    }));
  return Attached{
      .host = device, .group = number, .device = std::move(created)};
}

absl::Status DeviceManager::PlaceBars(Attached& attached) {
  for (const pci::Bar& bar : attached.device->bars()) {
    // The guest enables its ROM, where there is one, and places it itself.
    if (bar.index.is_rom()) continue;
    allocator::AddressAllocator& window = bar.is_io()      ? *io_
                                          : bar.is_64bit() ? *memory64_
                                                           : *memory32_;
    auto place = window.Allocate(bar.size);
    if (!place.ok()) {
      return kernel::Annotate(place.status(),
                              absl::StrCat(attached.host, " ", bar.index));
    }
    PASSTHRU_RETURN_IF_ERROR(
        attached.device->SetBarAddress(bar.index, place->address()));
    attached.places.push_back(*std::move(place));
  }
  return absl::OkStatus();
}

absl::StatusOr<pci::Bdf> DeviceManager::FreeSlot() const {
  // Slot 0 is the host bridge's.
  for (uint8_t slot = 1; slot < 32; ++slot) {
    const pci::Bdf bdf(machine_->segment().number(), 0, slot, 0);
    if (!devices_.contains(bdf)) return bdf;
  }
  return absl::ResourceExhaustedError(
      "the guest's PCI bus is full: it has room for 31 devices");
}

}  // namespace passthru::vmm
