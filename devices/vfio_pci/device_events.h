// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_DEVICE_EVENTS_H_
#define PASSTHRU_DEVICES_VFIO_PCI_DEVICE_EVENTS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio_pci {

// An event of a device that the kernel signals through an eventfd and the event
// loop delivers as a call. It is either the host's request to return the device
// or an error that the device reported.
//
// The callback runs once per event, even if the kernel repeats the event before
// the loop reads it. Immutable after Create(). The destructor waits for a
// running callback, unless that callback runs the destructor.
class DeviceEvent {
 public:
  // Tells the kernel which eventfd to signal. -1 makes it stop.
  using Connect = std::function<absl::Status(int event_fd)>;

  static absl::StatusOr<std::unique_ptr<DeviceEvent>> Create(
      kernel::Syscalls* syscalls, kernel::EventLoop* loop, Connect connect,
      std::function<void()> callback);

  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;
  ~DeviceEvent();

 private:
  DeviceEvent(kernel::EventLoop* loop, Connect connect, kernel::EventFd event);

  kernel::EventLoop* const loop_;
  const Connect connect_;
  // Shared with the callback, which briefly outlives this object if it destroys
  // it.
  const std::shared_ptr<kernel::EventFd> event_;
  bool watched_ = false;
  bool connected_ = false;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_DEVICE_EVENTS_H_
