// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_GROUP_SET_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_GROUP_SET_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/devices/vfio/vfio_paths.h"

namespace passthru::vfio {

// The open groups of a container. The kernel allows only one open of a group at
// a time, but a VMM may attach and detach several devices of a group one by
// one. This class returns the same VfioGroup as long as it is referenced.
//
// Thread-safe. Dropping the last reference to a group must finish before the
// group is requested again, or Get() fails with EBUSY.
class VfioGroupSet {
 public:
  explicit VfioGroupSet(std::shared_ptr<VfioContainer> container,
                        VfioPaths paths = {})
      : container_(std::move(container)), paths_(std::move(paths)) {}

  // Returns group `number`. Opens it with VfioGroup::Open() if it is not open.
  absl::StatusOr<std::shared_ptr<VfioGroup>> Get(uint32_t number);

  const std::shared_ptr<VfioContainer>& container() const { return container_; }

 private:
  const std::shared_ptr<VfioContainer> container_;
  const VfioPaths paths_;

  absl::Mutex mutex_;
  absl::flat_hash_map<uint32_t, std::weak_ptr<VfioGroup>> groups_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_GROUP_SET_H_
