// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_
#define PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::interrupts {

// The host's side of one interrupt type (MSI or MSI-X) of one device: which
// vectors the host has allocated, and which eventfd each one signals.
// vfio::VfioIrqIndex implements it over VFIO_DEVICE_SET_IRQS.
//
// Each call is one system call; a failure carries the kernel's errno
// (kernel::ErrnoOf). Callers serialize: only the owner of the device's
// interrupt mutex calls.
class HostVectors {
 public:
  // In place of an eventfd: the vector exists and signals nothing.
  static constexpr int kNoEventFd = -1;

  virtual ~HostVectors() = default;

  // vfio_irq_info.count: how many vectors the device has.
  virtual uint32_t count() const = 0;

  // Whether vectors can be added while the type is enabled: the absence of
  // VFIO_IRQ_INFO_NORESIZE (MSI-X on Linux 6.5 and newer, with interrupt
  // remapping). When false, the first Set() fixes how many there are.
  virtual bool dynamic() const = 0;

  // VFIO_DEVICE_SET_IRQS(EVENTFD | TRIGGER): vector start + i signals
  // event_fds[i], or nothing (kNoEventFd). The first call enables the type and
  // makes the host allocate start + event_fds.size() vectors; `event_fds` is
  // not empty.
  //
  // Returns 0 when done. A positive n: the host has only n vectors available,
  // and nothing was enabled.
  virtual absl::StatusOr<uint32_t> Set(uint32_t start,
                                       absl::Span<const int> event_fds) = 0;

  // VFIO_DEVICE_SET_IRQS(NONE | TRIGGER, count 0): disables the type and frees
  // its host vectors. The kernel refuses (EINVAL) when it is not enabled.
  virtual absl::Status Disable() = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_
