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

// The host's side of a device's INTx, which is VFIO_DEVICE_SET_IRQS on
// VFIO_PCI_INTX_IRQ_INDEX. A failure carries its errno.
class IntxHost {
 public:
  virtual ~IntxHost() = default;
  // Enables INTx. Each interrupt signals `event_fd` and masks the line.
  virtual absl::Status SetTrigger(int event_fd) = 0;
  // Makes a signal of `event_fd` unmask the line. With -1 no eventfd does.
  virtual absl::Status SetUnmask(int event_fd) = 0;
  virtual absl::Status Disable() = 0;
};

// The level-triggered interrupt line of a device. The kernel drives it without
// user space. An interrupt masks the line on the host and raises the GSI. When
// the guest acknowledges it, KVM lowers the GSI and signals the resample
// eventfd, which unmasks the line. If the device still asserts the line, it
// interrupts again. COMMAND's interrupt disable bit needs no handling here,
// because VFIO honours it.
//
// Thread-compatible. Callers hold the device's control mutex.
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
  ~IntxLine() { Shutdown(); }

  // Turns the line on. After a failure it is off. Does nothing if it is on.
  absl::Status Enable();
  // Turns the line off. Continues after a failure and returns the first one. If
  // the line is off, retries to disable what the kernel kept on at an earlier
  // failure.
  absl::Status Disable();
  // Turns the line off for good, because the device is about to be closed. The
  // close disables what cannot be disabled now. From then on Disable() makes no
  // call to `host`, which may no longer exist.
  void Shutdown();
  bool enabled() const { return trigger_.has_value(); }

 private:
  const Options options_;
  std::optional<kernel::EventFd> trigger_;
  std::optional<kernel::EventFd> resample_;
  bool host_on_ = false;  // the kernel has the index enabled
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_INTX_LINE_H_
