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

// An event of the host about a device - it wants it back, or it reported an
// error - that arrives in an eventfd and becomes a call from the event loop.
//
// The callback is called once an event, however often the kernel repeats it
// before it is read. Immutable after Create(); the destructor waits for a
// running callback, unless that is what destroys it.
class DeviceEvent {
 public:
  // Tells the kernel where to signal; -1 to stop.
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
  // Shared with the callback, which may outlive this object by a moment when it
  // destroys it.
  const std::shared_ptr<kernel::EventFd> event_;
  bool watched_ = false;
  bool connected_ = false;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_DEVICE_EVENTS_H_
