// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_paths.h"

namespace passthru::vfio {

// One open /dev/vfio/vfio, which is an I/O address space that the devices of
// all its groups share (VFIO type 1 v2). A VM without a virtual IOMMU needs one
// container.
//
// The container has an IOMMU only while it has groups. When the last group is
// detached, the kernel removes the IOMMU and all mappings.
//
// Thread-safe.
class VfioContainer {
 public:
  // Opens a container and checks its API version and that it supports type1v2.
  static absl::StatusOr<std::shared_ptr<VfioContainer>> Create(
      kernel::Syscalls* syscalls, const VfioPaths& paths = {});

  // Takes over a descriptor of /dev/vfio/vfio that another party opened, and
  // makes the same checks. The container may have groups and an IOMMU already
  // (VFIO_SET_IOMMU), which must then be of type1v2.
  static absl::StatusOr<std::shared_ptr<VfioContainer>> Adopt(
      kernel::Syscalls* syscalls, kernel::FileDescriptor descriptor);

  // Queries the limits of the IOMMU from the kernel. This, MapDma() and
  // UnmapDma() return FailedPrecondition while the container has no group.
  absl::StatusOr<IommuInfo> QueryInfo() const;

  // Returns a snapshot of QueryInfo() from the time the last group was
  // attached. Meaningless before the first.
  IommuInfo info() const;

  // Maps the `size` bytes at `host` so that devices can access them at `iova`
  // (VFIO_IOMMU_MAP_DMA). The kernel pins them, which takes time and counts
  // against RLIMIT_MEMLOCK. `iova`, `size` and `host` must be multiples of
  // IommuInfo::min_page_size.
  absl::Status MapDma(memory::Iova iova, uint64_t size, void* host, bool read,
                      bool write);

  // Unmaps a range that consists of whole mappings (VFIO_IOMMU_UNMAP_DMA).
  // Returns DataLoss if the kernel unmapped less.
  absl::Status UnmapDma(memory::Iova iova, uint64_t size);

  // For VfioGroup. AttachGroup() calls VFIO_GROUP_SET_CONTAINER and, for the
  // first group, VFIO_SET_IOMMU. DetachGroup() calls
  // VFIO_GROUP_UNSET_CONTAINER. `group` is the group's number, for messages.
  absl::Status AttachGroup(int group_fd, uint32_t group);
  absl::Status DetachGroup(int group_fd, uint32_t group);
  // For VfioGroup, too. Counts a group that another party attached to this
  // container. DetachGroup() detaches it.
  absl::Status AdoptAttachedGroup();

  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return container_.get(); }

 private:
  VfioContainer(kernel::Syscalls* syscalls, kernel::FileDescriptor container)
      : syscalls_(syscalls), container_(std::move(container)) {}

  absl::Status CheckHasIommu() const;
  // Calls VFIO_SET_IOMMU, unless the container has an IOMMU, after `group` has
  // joined, and queries its limits.
  absl::StatusOr<IommuInfo> PrepareIommu(uint32_t group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(attach_mutex_);
  // Returns whether the kernel took the IOMMU away, and with it all mappings.
  // It does when the last device of the last group leaves vfio-pci
  // (vfio_device_remove_group()), which the host may want at any time.
  bool HasLostIommu() const;
  // Checks API version and type, as the last step of creation. `name` is the
  // container's, for messages.
  absl::Status Check(std::string_view name) const;

  kernel::Syscalls* const syscalls_;
  const kernel::FileDescriptor container_;

  // Held while attaching and detaching, but not while mapping.
  absl::Mutex attach_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  uint32_t groups_ ABSL_GUARDED_BY(mutex_) = 0;
  // Whether another party has called VFIO_SET_IOMMU, which works only once
  // while the container has groups.
  bool adopted_iommu_ ABSL_GUARDED_BY(mutex_) = false;
  IommuInfo info_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_
