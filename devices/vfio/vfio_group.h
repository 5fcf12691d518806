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

// One /dev/vfio/<number>: an IOMMU group, the devices that the hardware cannot
// keep apart, attached to a container. The kernel lets it be opened once; who
// passes several devices of one group shares this object (VfioGroupSet).
//
// Immutable after Open().
class VfioGroup {
 public:
  // Opens it, checks that it is viable - that no device of it is in a host
  // driver's hands - and attaches it.
  static absl::StatusOr<std::shared_ptr<VfioGroup>> Open(
      std::shared_ptr<VfioContainer> container, uint32_t number,
      const VfioPaths& paths = {});

  VfioGroup(const VfioGroup&) = delete;
  VfioGroup& operator=(const VfioGroup&) = delete;

  // Detaches and closes it. Its devices hold it, so they are closed already.
  ~VfioGroup();

  // VFIO_GROUP_GET_STATUS: VFIO_GROUP_FLAGS_*.
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
