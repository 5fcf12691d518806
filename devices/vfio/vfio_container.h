// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_

#include <cstdint>
#include <memory>
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

// One /dev/vfio/vfio: an I/O address space that the devices of all its groups
// share (VFIO type 1 v2). A VM without a virtual IOMMU needs one.
//
// The kernel gives it an IOMMU with its first group and takes that away, with
// all mappings, when the last group leaves.
//
// Thread-safe.
class VfioContainer {
 public:
  // Opens it, and checks the API version and that type1v2 is there.
  static absl::StatusOr<std::shared_ptr<VfioContainer>> Create(
      kernel::Syscalls* syscalls, const VfioPaths& paths = {});

  // What the IOMMU can do, asked of the kernel now. FailedPrecondition while
  // there is no group.
  absl::StatusOr<IommuInfo> QueryInfo() const;

  // The same as it was when a group was last attached; of no use before.
  IommuInfo info() const;

  // VFIO_IOMMU_MAP_DMA: devices reach the `size` bytes at `host` at `iova`. The
  // kernel pins them, so this takes time and counts against RLIMIT_MEMLOCK. All
  // three are multiples of IommuInfo::min_page_size.
  absl::Status MapDma(memory::Iova iova, uint64_t size, void* host, bool read,
                      bool write);

  // VFIO_IOMMU_UNMAP_DMA, and a check that the kernel unmapped all of it. Whole
  // mappings only.
  absl::Status UnmapDma(memory::Iova iova, uint64_t size);

  // For VfioGroup: VFIO_GROUP_SET_CONTAINER and, for the first one,
  // VFIO_SET_IOMMU; and the reverse. `group` is its number, for messages.
  absl::Status AttachGroup(int group_fd, uint32_t group);
  absl::Status DetachGroup(int group_fd, uint32_t group);

  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return container_.get(); }

 private:
  VfioContainer(kernel::Syscalls* syscalls, kernel::FileDescriptor container)
      : syscalls_(syscalls), container_(std::move(container)) {}

  absl::Status CheckHasIommu() const;

  kernel::Syscalls* const syscalls_;
  const kernel::FileDescriptor container_;

  // Held over attaching and detaching, not over mapping.
  absl::Mutex attach_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  uint32_t groups_ ABSL_GUARDED_BY(mutex_) = 0;
  IommuInfo info_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_CONTAINER_H_
