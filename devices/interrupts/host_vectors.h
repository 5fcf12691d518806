// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_
#define PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::interrupts {

// The host's side of one interrupt type (MSI or MSI-X) of one device. It
// determines which vectors the host has allocated, and which eventfd each one
// signals. vfio::VfioIrqIndex implements it over VFIO_DEVICE_SET_IRQS.
//
// Set() and Disable() make one system call each, and a failure carries the
// kernel's errno (kernel::ErrnoOf). Callers serialize the calls by the device's
// interrupt mutex.
class HostVectors {
 public:
  // Takes the place of an eventfd for a vector that exists but signals nothing.
  static constexpr int kNoEventFd = -1;

  virtual ~HostVectors() = default;

  // Returns how many vectors the device has (vfio_irq_info.count).
  virtual uint32_t count() const = 0;

  // Returns whether vectors can be added while the type is enabled, which is
  // the absence of VFIO_IRQ_INFO_NORESIZE (MSI-X on Linux 6.5 and newer, with
  // interrupt remapping). If false, the first Set() fixes their number.
  virtual bool dynamic() const = 0;

  // Makes vector start + i signal event_fds[i], or nothing if that is
  // kNoEventFd (VFIO_DEVICE_SET_IRQS with EVENTFD | TRIGGER). The first call
  // enables the type and makes the host allocate start + event_fds.size()
  // vectors. `event_fds` must not be empty.
  //
  // Returns 0 on success. A positive result is the number of vectors that the
  // host has available, and means that nothing was enabled.
  virtual absl::StatusOr<uint32_t> Set(uint32_t start,
                                       absl::Span<const int> event_fds) = 0;

  // Disables the type and frees its host vectors (VFIO_DEVICE_SET_IRQS with
  // NONE | TRIGGER and count 0). The kernel refuses with EINVAL if the type is
  // not enabled.
  virtual absl::Status Disable() = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTORS_H_
