// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_group.h"

#include <fcntl.h>
#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/explain.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_paths.h"

namespace passthru::vfio {

absl::StatusOr<std::shared_ptr<VfioGroup>> VfioGroup::Open(
    std::shared_ptr<VfioContainer> container, uint32_t number,
    const VfioPaths& paths) {
  kernel::Syscalls* const syscalls = container->syscalls();
  const std::string path = absl::StrCat(paths.dev_vfio, "/", number);
  const kernel::SyscallResult<int> opened =
      syscalls->Open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (!opened.ok()) return ExplainGroupOpen(opened.error, path);

  return Adopt(std::move(container), number,
               kernel::FileDescriptor(syscalls, opened.value), paths);
}

absl::StatusOr<std::shared_ptr<VfioGroup>> VfioGroup::Adopt(
    std::shared_ptr<VfioContainer> container, uint32_t number,
    kernel::FileDescriptor descriptor, const VfioPaths& paths) {
  kernel::Syscalls* const syscalls = container->syscalls();
  std::shared_ptr<VfioGroup> group = absl::WrapUnique(
      new VfioGroup(std::move(container), number, std::move(descriptor)));
  PASSTHRU_ASSIGN_OR_RETURN(const uint32_t status, group->GetStatus());
  if ((status & VFIO_GROUP_FLAGS_VIABLE) == 0) {
    return ExplainNotViable(number,
                            FindBlockingDevices(syscalls, number, paths));
  }
  if ((status & VFIO_GROUP_FLAGS_CONTAINER_SET) != 0) {
    PASSTHRU_RETURN_IF_ERROR(group->container_->AdoptAttachedGroup());
  } else {
    PASSTHRU_RETURN_IF_ERROR(
        group->container_->AttachGroup(group->fd(), number));
  }
  group->attached_ = true;
  return group;
}

VfioGroup::~VfioGroup() {
  if (!attached_) return;
  const absl::Status detached = container_->DetachGroup(fd(), number_);
  if (!detached.ok()) LOG(ERROR) << detached;
}

absl::StatusOr<uint32_t> VfioGroup::GetStatus() const {
  vfio_group_status status = {};
  status.argsz = sizeof(status);
  const kernel::SyscallResult<int> result =
      syscalls()->Ioctl(fd(), VFIO_GROUP_GET_STATUS, &status);
  if (!result.ok()) {
    return kernel::ErrnoError(
        result.error, absl::StrCat("VFIO_GROUP_GET_STATUS of group ", number_));
  }
  return status.flags;
}

}  // namespace passthru::vfio
