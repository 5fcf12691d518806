// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_container.h"

#include <fcntl.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/explain.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_paths.h"

namespace passthru::vfio {

using kernel::ErrnoError;
using kernel::SyscallResult;

absl::StatusOr<std::shared_ptr<VfioContainer>> VfioContainer::Create(
    kernel::Syscalls* syscalls, const VfioPaths& paths) {
  const std::string path = absl::StrCat(paths.dev_vfio, "/vfio");
  const SyscallResult<int> opened =
      syscalls->Open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (!opened.ok()) return ExplainContainerOpen(opened.error, path);
  std::shared_ptr<VfioContainer> container = absl::WrapUnique(new VfioContainer(
      syscalls, kernel::FileDescriptor(syscalls, opened.value)));
  PASSTHRU_RETURN_IF_ERROR(container->Check(path));
  return container;
}

absl::StatusOr<std::shared_ptr<VfioContainer>> VfioContainer::Adopt(
    kernel::Syscalls* syscalls, kernel::FileDescriptor descriptor) {
  std::shared_ptr<VfioContainer> container =
      absl::WrapUnique(new VfioContainer(syscalls, std::move(descriptor)));
  PASSTHRU_RETURN_IF_ERROR(container->Check("the adopted VFIO container"));
  // A container without an IOMMU answers EINVAL (vfio_fops_unl_ioctl()).
  const absl::StatusOr<IommuInfo> info =
      QueryIommuInfo(syscalls, container->fd());
  if (!info.ok() && kernel::ErrnoOf(info.status()) != EINVAL) {
    return info.status();
  }
  absl::MutexLock lock(&container->mutex_);
  container->adopted_iommu_ = info.ok();
  return container;
}

absl::Status VfioContainer::Check(std::string_view name) const {
  const SyscallResult<int> version =
      syscalls_->IoctlInt(container_.get(), VFIO_GET_API_VERSION, 0);
  if (!version.ok()) {
    return ErrnoError(version.error,
                      absl::StrCat("VFIO_GET_API_VERSION on ", name));
  }
  if (version.value != VFIO_API_VERSION) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s speaks version %d of VFIO's interface; this program needs %d", name,
        version.value, VFIO_API_VERSION));
  }
  const SyscallResult<int> type1v2 = syscalls_->IoctlInt(
      container_.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU);
  if (!type1v2.ok()) {
    return ErrnoError(
        type1v2.error,
        absl::StrCat("VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU) on ", name));
  }
  if (type1v2.value == 0) return ExplainNoType1v2(name);
  return absl::OkStatus();
}

absl::Status VfioContainer::CheckHasIommu() const {
  absl::MutexLock lock(&mutex_);
  if (groups_ == 0) {
    return absl::FailedPreconditionError(
        "the VFIO container has no group, and so no IOMMU");
  }
  return absl::OkStatus();
}

absl::StatusOr<IommuInfo> VfioContainer::QueryInfo() const {
  PASSTHRU_RETURN_IF_ERROR(CheckHasIommu());
  return QueryIommuInfo(syscalls_, container_.get());
}

IommuInfo VfioContainer::info() const {
  absl::MutexLock lock(&mutex_);
  return info_;
}

absl::Status VfioContainer::MapDma(memory::Iova iova, uint64_t size, void* host,
                                   bool read, bool write) {
  PASSTHRU_RETURN_IF_ERROR(CheckHasIommu());
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = (read ? VFIO_DMA_MAP_FLAG_READ : 0u) |
              (write ? VFIO_DMA_MAP_FLAG_WRITE : 0u);
  map.vaddr = reinterpret_cast<uintptr_t>(host);
  map.iova = iova.value();
  map.size = size;
  const SyscallResult<int> mapped =
      syscalls_->Ioctl(container_.get(), VFIO_IOMMU_MAP_DMA, &map);
  if (!mapped.ok()) {
    return ExplainMapDma(
        mapped.error,
        absl::StrFormat("VFIO_IOMMU_MAP_DMA(iova=0x%x, size=0x%x, %s%s)",
                        iova.value(), size, read ? "R" : "-",
                        write ? "W" : "-"),
        size, syscalls_);
  }
  return absl::OkStatus();
}

absl::Status VfioContainer::UnmapDma(memory::Iova iova, uint64_t size) {
  PASSTHRU_RETURN_IF_ERROR(CheckHasIommu());
  kernel::FlexArray<vfio_iommu_type1_dma_unmap, uint8_t> unmap(0);
  unmap.header().argsz = static_cast<uint32_t>(unmap.size_bytes());
  unmap.header().iova = iova.value();
  unmap.header().size = size;
  const std::string what = absl::StrFormat(
      "VFIO_IOMMU_UNMAP_DMA(iova=0x%x, size=0x%x)", iova.value(), size);
  const SyscallResult<int> unmapped =
      syscalls_->Ioctl(container_.get(), VFIO_IOMMU_UNMAP_DMA, unmap.data());
  if (unmapped.ok() && unmap.header().size == size) return absl::OkStatus();
  // The mappings went with the IOMMU.
  if (HasLostIommu()) return absl::OkStatus();
  if (!unmapped.ok()) return ErrnoError(unmapped.error, what);
  // If the range has holes, the kernel succeeds but returns a smaller size. The
  // caller's record of its mappings is then wrong.
  return absl::DataLossError(
      absl::StrFormat("%s: only 0x%x bytes were mapped", what,
                      static_cast<uint64_t>(unmap.header().size)));
}

bool VfioContainer::HasLostIommu() const {
  // The kernel answers this when a group that is about to leave has left.
  syscalls_->IoctlInt(container_.get(), VFIO_CHECK_EXTENSION,
                      VFIO_TYPE1v2_IOMMU);
  const absl::StatusOr<IommuInfo> info =
      QueryIommuInfo(syscalls_, container_.get());
  return kernel::ErrnoOf(info.status()) == EINVAL;
}

absl::Status VfioContainer::AttachGroup(int group_fd, uint32_t group) {
  absl::MutexLock attach_lock(&attach_mutex_);
  int fd = container_.get();
  const SyscallResult<int> attached =
      syscalls_->Ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &fd);
  if (!attached.ok()) {
    return ErrnoError(
        attached.error,
        absl::StrCat("VFIO_GROUP_SET_CONTAINER of group ", group));
  }
  const absl::StatusOr<IommuInfo> info = PrepareIommu(group);
  if (info.ok()) {
    absl::MutexLock lock(&mutex_);
    info_ = *info;
    ++groups_;
    return absl::OkStatus();
  }
  const SyscallResult<int> undone =
      syscalls_->Ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, nullptr);
  if (!undone.ok()) {
    LOG(ERROR) << ErrnoError(
        undone.error,
        absl::StrCat("VFIO_GROUP_UNSET_CONTAINER of group ", group));
  }
  return info.status();
}

absl::StatusOr<IommuInfo> VfioContainer::PrepareIommu(uint32_t group) {
  bool others = false;
  bool adopted = false;
  {
    absl::MutexLock lock(&mutex_);
    others = groups_ > 0;
    adopted = adopted_iommu_;
  }
  if (others || adopted) {
    absl::StatusOr<IommuInfo> info =
        QueryIommuInfo(syscalls_, container_.get());
    if (kernel::ErrnoOf(info.status()) != EINVAL) return info;
    // The IOMMU is gone, as in HasLostIommu(). A new one would lack the
    // mappings that were made for the other groups.
    if (others) {
      return absl::FailedPreconditionError(absl::StrCat(
          "VFIO group ", group,
          " cannot join the container, which lost its IOMMU when its last "
          "device left vfio-pci; detach the devices of its other groups "
          "first"));
    }
    absl::MutexLock lock(&mutex_);
    adopted_iommu_ = false;
  }
  const SyscallResult<int> set =
      syscalls_->IoctlInt(container_.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
  if (!set.ok()) return ExplainSetIommu(set.error, group);
  return QueryIommuInfo(syscalls_, container_.get());
}

absl::Status VfioContainer::AdoptAttachedGroup() {
  absl::MutexLock attach_lock(&attach_mutex_);
  PASSTHRU_ASSIGN_OR_RETURN(const IommuInfo info,
                            QueryIommuInfo(syscalls_, container_.get()));
  absl::MutexLock lock(&mutex_);
  info_ = info;
  ++groups_;
  return absl::OkStatus();
}

absl::Status VfioContainer::DetachGroup(int group_fd, uint32_t group) {
  absl::MutexLock attach_lock(&attach_mutex_);
  const SyscallResult<int> detached =
      syscalls_->Ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, nullptr);
  // The group is detached in any case, because its owner closes the descriptor
  // next.
  {
    absl::MutexLock lock(&mutex_);
    --groups_;
  }
  // EINVAL means that the group has no container. The kernel takes it away when
  // the group's last device leaves vfio-pci (vfio_device_remove_group()), which
  // the host may do as soon as the device is closed.
  if (!detached.ok() && detached.error != EINVAL) {
    return ErrnoError(
        detached.error,
        absl::StrCat("VFIO_GROUP_UNSET_CONTAINER of group ", group));
  }
  return absl::OkStatus();
}

}  // namespace passthru::vfio
