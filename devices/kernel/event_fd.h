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

// An owned eventfd(2), non-blocking and closed on exec. VFIO signals interrupts
// by adding to its counter, and KVM's irqfd drains it.
//
// Movable. Read() and Signal() are thread-safe. Moving and destroying are not.
class EventFd {
 public:
  static absl::StatusOr<EventFd> Create(Syscalls* syscalls);

  int fd() const { return descriptor_.get(); }

  // Takes and returns the count, which is the sum of all values signalled since
  // the last Read(). Returns 0 if there were none.
  absl::StatusOr<uint64_t> Read();

  // Adds `value`, which must be at least 1, to the count.
  absl::Status Signal(uint64_t value = 1);

 private:
  EventFd(Syscalls* syscalls, FileDescriptor descriptor)
      : syscalls_(syscalls), descriptor_(std::move(descriptor)) {}

  Syscalls* syscalls_;
  FileDescriptor descriptor_;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_EVENT_FD_H_
