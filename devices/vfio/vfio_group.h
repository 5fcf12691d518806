// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_GROUP_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_GROUP_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_paths.h"

namespace passthru::vfio {

// One open /dev/vfio/<number>, attached to a container. It is an IOMMU group,
// which is a set of devices that the hardware cannot isolate from one another.
// The kernel allows only one open at a time, so a VMM that passes through
// several devices of a group must share this object.
//
// Thread-safe, because it is immutable after Open().
class VfioGroup {
 public:
  // Opens group `number`, checks that it is viable, and attaches it to
  // `container`. A group is viable if no host driver uses any of its devices.
  static absl::StatusOr<std::shared_ptr<VfioGroup>> Open(
      std::shared_ptr<VfioContainer> container, uint32_t number,
      const VfioPaths& paths = {});

  // Takes over a descriptor of group `number` that another party opened. The
  // group may be attached to a container already, which must then be
  // `container`. Checks that the group is viable, and attaches it if it is not
  // attached.
  static absl::StatusOr<std::shared_ptr<VfioGroup>> Adopt(
      std::shared_ptr<VfioContainer> container, uint32_t number,
      kernel::FileDescriptor descriptor, const VfioPaths& paths = {});

  VfioGroup(const VfioGroup&) = delete;
  VfioGroup& operator=(const VfioGroup&) = delete;

  // Detaches and closes the group. Its devices are closed by then, because each
  // holds a reference to the group.
  ~VfioGroup();

  // Returns VFIO_GROUP_FLAGS_* from VFIO_GROUP_GET_STATUS.
  absl::StatusOr<uint32_t> GetStatus() const;

  uint32_t number() const { return number_; }
  int fd() const { return group_.get(); }
  const std::shared_ptr<VfioContainer>& container() const { return container_; }
  kernel::Syscalls* syscalls() const { return container_->syscalls(); }

 private:
  VfioGroup(std::shared_ptr<VfioContainer> container, uint32_t number,
            kernel::FileDescriptor group)
      : container_(std::move(container)),
        number_(number),
        group_(std::move(group)) {}

  const std::shared_ptr<VfioContainer> container_;
  const uint32_t number_;
  const kernel::FileDescriptor group_;
  bool attached_ = false;
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_GROUP_H_
