// SPDX-License-Identifier: Apache-2.0
// Implements the interrupts of VfioDevice.

#include <linux/vfio.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::vfio {
namespace {

std::string FlagNames(uint32_t flags) {
  const char* const action = (flags & VFIO_IRQ_SET_ACTION_MASK) != 0 ? "MASK"
                             : (flags & VFIO_IRQ_SET_ACTION_UNMASK) != 0
                                 ? "UNMASK"
                                 : "TRIGGER";
  const char* const data =
      (flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0 ? "EVENTFD" : "NONE";
  return absl::StrCat(data, "|", action);
}

}  // namespace

absl::StatusOr<int> VfioDevice::SetIrqs(uint32_t index, uint32_t flags,
                                        uint32_t start, uint32_t count,
                                        absl::Span<const int32_t> data) const {
  kernel::FlexArray<vfio_irq_set, int32_t> set(data.size());
  set.header().argsz = static_cast<uint32_t>(set.size_bytes());
  set.header().flags = flags;
  set.header().index = index;
  set.header().start = start;
  set.header().count = count;
  std::copy(data.begin(), data.end(), set.elements().begin());
  const kernel::SyscallResult<int> result =
      syscalls_->Ioctl(fd(), VFIO_DEVICE_SET_IRQS, set.data());
  if (!result.ok()) {
    return kernel::ErrnoError(
        result.error,
        absl::StrFormat(
            "VFIO_DEVICE_SET_IRQS(index=%s, %s, start=%d, count=%d) on %s",
            IrqName(index), FlagNames(flags), start, count, name_));
  }
  return result.value;
}

absl::Status VfioDevice::SetIrqsNone(uint32_t index, uint32_t action,
                                     uint32_t start, uint32_t count) const {
  return SetIrqs(index, VFIO_IRQ_SET_DATA_NONE | action, start, count, {})
      .status();
}

absl::Status VfioDevice::SetOneEventFd(uint32_t index, uint32_t action,
                                       int event_fd) const {
  return SetIrqs(index, VFIO_IRQ_SET_DATA_EVENTFD | action, 0, 1, {event_fd})
      .status();
}

absl::StatusOr<uint32_t> VfioDevice::SetIrqEventFds(
    uint32_t index, uint32_t start, absl::Span<const int> event_fds) const {
  // This also bounds the size of the structure, because info.count is at most
  // 2048.
  const VfioIrqInfo& info = irq(index);
  if (event_fds.empty() || start >= info.count ||
      event_fds.size() > info.count - start) {
    return absl::OutOfRangeError(absl::StrFormat(
        "VFIO_DEVICE_SET_IRQS(index=%s, start=%d, count=%d) on %s: there are "
        "%d interrupts of this index",
        IrqName(index), start, event_fds.size(), name_, info.count));
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      const int result,
      SetIrqs(index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
              start, static_cast<uint32_t>(event_fds.size()), event_fds));
  return static_cast<uint32_t>(result);
}

absl::Status VfioDevice::DisableIrq(uint32_t index) const {
  return SetIrqsNone(index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
}

absl::Status VfioDevice::MaskIrq(uint32_t index) const {
  return SetIrqsNone(index, VFIO_IRQ_SET_ACTION_MASK, 0, 1);
}

absl::Status VfioDevice::UnmaskIrq(uint32_t index) const {
  return SetIrqsNone(index, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1);
}

absl::Status VfioDevice::SetUnmaskEventFd(uint32_t index, int event_fd) const {
  return SetOneEventFd(index, VFIO_IRQ_SET_ACTION_UNMASK, event_fd);
}

absl::Status VfioDevice::TriggerIrq(uint32_t index, uint32_t start,
                                    uint32_t count) const {
  if (count == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("VFIO_DEVICE_SET_IRQS(index=%s, trigger, count=0) on "
                        "%s would disable the interrupts",
                        IrqName(index), name_));
  }
  return SetIrqsNone(index, VFIO_IRQ_SET_ACTION_TRIGGER, start, count);
}

absl::Status VfioDevice::SetErrorEventFd(int event_fd) const {
  return SetOneEventFd(VFIO_PCI_ERR_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                       event_fd);
}

absl::Status VfioDevice::SetRequestEventFd(int event_fd) const {
  return SetOneEventFd(VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                       event_fd);
}

}  // namespace passthru::vfio
