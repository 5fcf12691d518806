// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_INTX_LINE_H_
#define PASSTHRU_DEVICES_VFIO_PCI_INTX_LINE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio_pci {

// The host's side of a device's INTx: VFIO_DEVICE_SET_IRQS on
// VFIO_PCI_INTX_IRQ_INDEX. A failure carries its errno.
class IntxHost {
 public:
  virtual ~IntxHost() = default;
  // Enables INTx; each interrupt signals `event_fd` and masks the line.
  virtual absl::Status SetTrigger(int event_fd) = 0;
  // A signal of `event_fd` unmasks the line; -1: none does any more.
  virtual absl::Status SetUnmask(int event_fd) = 0;
  virtual absl::Status Disable() = 0;
};

// The level-triggered interrupt line of a device. The kernel alone keeps it
// going: an interrupt masks the line on the host and raises the GSI; when the
// guest acknowledges it, KVM lowers the GSI and signals the resample eventfd,
// which unmasks the line, so that a device that still asserts it interrupts
// again. COMMAND's interrupt disable bit is the device's own business: VFIO
// honours it.
//
// Thread-compatible: called under the device's control mutex.
class IntxLine {
 public:
  struct Options {
    std::string name;
    kernel::Syscalls* syscalls = nullptr;
    IntxHost* host = nullptr;
    interrupts::InterruptController* controller = nullptr;
    allocator::Gsi gsi;
  };
  explicit IntxLine(Options options) : options_(std::move(options)) {}
  IntxLine(const IntxLine&) = delete;
  IntxLine& operator=(const IntxLine&) = delete;
  ~IntxLine() { Disable().IgnoreError(); }

  // After a failure it is off. A no-op when it is on.
  absl::Status Enable();
  // Goes on after a failure, and returns the first. When it is off, tries again
  // to make the kernel give up what it kept at an earlier failure.
  absl::Status Disable();
  bool enabled() const { return trigger_.has_value(); }

 private:
  const Options options_;
  std::optional<kernel::EventFd> trigger_;
  std::optional<kernel::EventFd> resample_;
  bool host_on_ = false;  // the kernel has the index on
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_INTX_LINE_H_
