// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/passthrough/group_dma_space.h"

#include <utility>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"

namespace passthru::passthrough {

GroupDmaSpace::~GroupDmaSpace() {
  absl::MutexLock lock(&mutex_);
  CHECK(devices_.empty()) << "a device is still in the DMA address space";
}

absl::Status GroupDmaSpace::AdoptContainer(kernel::FileDescriptor container) {
  absl::MutexLock lock(&mutex_);
  if (container_ != nullptr) {
    return absl::FailedPreconditionError(
        "a VFIO container cannot be adopted, because one is open already");
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      container_,
      vfio::VfioContainer::Adopt(options_.syscalls, std::move(container)));
  return absl::OkStatus();
}

absl::Status GroupDmaSpace::AdoptGroup(uint32_t number,
                                       kernel::FileDescriptor group) {
  absl::MutexLock lock(&mutex_);
  if (groups_.contains(number) || adopted_groups_.contains(number)) {
    return absl::FailedPreconditionError(
        absl::StrCat("VFIO group ", number,
                     " cannot be adopted, because it is open already"));
  }
  adopted_groups_.emplace(number, std::move(group));
  return absl::OkStatus();
}

absl::Status GroupDmaSpace::AdoptDevice(pci::Bdf address,
                                        kernel::FileDescriptor device) {
  absl::MutexLock lock(&mutex_);
  if (devices_.contains(address) || adopted_devices_.contains(address)) {
    return absl::FailedPreconditionError(absl::StrCat(
        address, " cannot be adopted, because it is open already"));
  }
  adopted_devices_.emplace(address, std::move(device));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> GroupDmaSpace::Open(
    pci::Bdf device, std::string_view vf_token) {
  absl::MutexLock lock(&mutex_);
  if (devices_.contains(device)) {
    return absl::AlreadyExistsError(
        absl::StrCat(device, " is open in this VM already"));
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      const uint32_t number,
      vfio::FindGroup(options_.syscalls, device, options_.paths));
  options_.memory->RetryRemovals().IgnoreError();  // Logged.
  PASSTHRU_RETURN_IF_ERROR(AcquireGroup(number));
  const std::shared_ptr<vfio::VfioGroup>& group = groups_[number].group;
  auto adopted = adopted_devices_.extract(device);
  absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> opened =
      adopted.empty()
          ? vfio::VfioDevice::Open(group, device, vf_token)
          : vfio::VfioDevice::Adopt(group, device, std::move(adopted.mapped()));
  if (!opened.ok()) {
    if (absl::Status released = ReleaseGroup(number); !released.ok()) {
      LOG(ERROR) << released;
    }
    return opened;
  }
  devices_.emplace(device, number);
  return opened;
}

absl::Status GroupDmaSpace::Release(pci::Bdf device) {
  absl::MutexLock lock(&mutex_);
  const auto node = devices_.extract(device);
  if (node.empty()) {
    return absl::NotFoundError(
        absl::StrCat(device, " is not in the DMA address space"));
  }
  return ReleaseGroup(node.mapped());
}

absl::Status GroupDmaSpace::AcquireGroup(uint32_t number) {
  GroupInUse& in_use = groups_[number];
  if (++in_use.devices > 1) return absl::OkStatus();
  // ReleaseGroup() undoes everything below, no matter how far it came.
  absl::Status status = OpenGroup(number, in_use);
  if (status.ok()) status = StartDma();
  if (status.ok() && kvm_vfio_ != nullptr) {
    status = kvm_vfio_->AddGroup(in_use.group->fd());
    in_use.known_to_kvm = status.ok();
  }
  if (!status.ok()) {
    if (absl::Status released = ReleaseGroup(number); !released.ok()) {
      LOG(ERROR) << released;
    }
  }
  return status;
}

absl::Status GroupDmaSpace::OpenContainer() {
  if (container_ != nullptr) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(container_, vfio::VfioContainer::Create(
                                            options_.syscalls, options_.paths));
  return absl::OkStatus();
}

absl::Status GroupDmaSpace::OpenGroup(uint32_t number, GroupInUse& in_use) {
  PASSTHRU_RETURN_IF_ERROR(OpenContainer());
  auto adopted = adopted_groups_.extract(number);
  if (adopted.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(
        in_use.group,
        vfio::VfioGroup::Open(container_, number, options_.paths));
  } else {
    PASSTHRU_ASSIGN_OR_RETURN(
        in_use.group,
        vfio::VfioGroup::Adopt(container_, number, std::move(adopted.mapped()),
                               options_.paths));
  }
  return absl::OkStatus();
}

absl::Status GroupDmaSpace::ReleaseGroup(uint32_t number) {
  GroupInUse& in_use = groups_[number];
  if (--in_use.devices > 0) return absl::OkStatus();
  absl::Status first;
  if (in_use.known_to_kvm) {
    first = kvm_vfio_->RemoveGroup(in_use.group->fd());
  }
  if (groups_.size() == 1) kernel::KeepFirst(first, StopDma());
  groups_.erase(number);
  if (groups_.empty()) {
    kvm_vfio_.reset();
    container_.reset();
  }
  return first;
}

// The container's mappings follow guest memory while it has an IOMMU, which the
// kernel gives it with its first group and takes away with its last.
absl::Status GroupDmaSpace::StartDma() {
  if (dma_ != nullptr) return absl::OkStatus();
  if (options_.vm != nullptr) {
    PASSTHRU_ASSIGN_OR_RETURN(kvm_vfio_,
                              kvm::KvmVfioDevice::Create(options_.vm));
  }
  auto dma = std::make_unique<vfio::DmaListener>(
      container_,
      vfio::DmaListener::Options{.device_bars = options_.peer_to_peer});
  PASSTHRU_RETURN_IF_ERROR(options_.memory->AddListener(dma.get()));
  dma_ = std::move(dma);
  return absl::OkStatus();
}

absl::Status GroupDmaSpace::StopDma() {
  if (dma_ == nullptr) return absl::OkStatus();
  absl::Status status = options_.memory->RemoveListener(dma_.get());
  dma_.reset();
  return status;
}

std::optional<vfio::IommuInfo> GroupDmaSpace::iommu() const {
  absl::MutexLock lock(&mutex_);
  if (groups_.empty()) return std::nullopt;
  return container_->info();
}

size_t GroupDmaSpace::unreachable_bars() const {
  absl::MutexLock lock(&mutex_);
  return dma_ == nullptr ? 0 : dma_->unreachable_bars();
}

GroupDmaReport GroupDmaSpace::Describe() const {
  absl::MutexLock lock(&mutex_);
  GroupDmaReport report;
  for (const auto& [number, in_use] : groups_) report.groups.push_back(number);
  if (dma_ == nullptr) return report;
  report.mappings = dma_->Mappings();
  report.unreachable_bars = dma_->unreachable_bars();
  report.failures = dma_->RecentFailures();
  return report;
}

}  // namespace passthru::passthrough
