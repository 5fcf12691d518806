// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_EVENT_FD_H_
#define PASSTHRU_DEVICES_KERNEL_EVENT_FD_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// An eventfd(2): the counter that VFIO signals an interrupt into and that
// KVM's irqfd drains. Non-blocking and closed on exec.
//
// Movable. Read() and Signal() are thread-safe, moving and destroying are not.
class EventFd {
 public:
  static absl::StatusOr<EventFd> Create(Syscalls* syscalls);

  int fd() const { return descriptor_.get(); }

  // Takes the count: the sum of what was signalled since the last Read(), 0
  // if nothing was.
  absl::StatusOr<uint64_t> Read();

  // Adds `value`, at least 1, to the count.
  absl::Status Signal(uint64_t value = 1);

 private:
  EventFd(Syscalls* syscalls, FileDescriptor descriptor)
      : syscalls_(syscalls), descriptor_(std::move(descriptor)) {}

  Syscalls* syscalls_;
  FileDescriptor descriptor_;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_EVENT_FD_H_
