// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_group_set.h"

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/vfio/vfio_group.h"

namespace passthru::vfio {

absl::StatusOr<std::shared_ptr<VfioGroup>> VfioGroupSet::Get(uint32_t number) {
  // Held while opening, so that of two concurrent callers one opens the group
  // and the other gets the same object.
  absl::MutexLock lock(&mutex_);
  std::weak_ptr<VfioGroup>& known = groups_[number];
  if (std::shared_ptr<VfioGroup> open = known.lock()) return open;
  absl::StatusOr<std::shared_ptr<VfioGroup>> opened =
      VfioGroup::Open(container_, number, paths_);
  if (opened.ok()) known = *opened;
  return opened;
}

}  // namespace passthru::vfio
