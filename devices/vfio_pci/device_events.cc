// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/device_events.h"

#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::vfio_pci {

DeviceEvent::DeviceEvent(kernel::EventLoop* loop, Connect connect,
                         kernel::EventFd event)
    : loop_(loop),
      connect_(std::move(connect)),
      event_(std::make_shared<kernel::EventFd>(std::move(event))) {}

absl::StatusOr<std::unique_ptr<DeviceEvent>> DeviceEvent::Create(
    kernel::Syscalls* syscalls, kernel::EventLoop* loop, Connect connect,
    std::function<void()> callback) {
  PASSTHRU_ASSIGN_OR_RETURN(kernel::EventFd event,
                            kernel::EventFd::Create(syscalls));
  auto result = absl::WrapUnique(
      new DeviceEvent(loop, std::move(connect), std::move(event)));
  PASSTHRU_RETURN_IF_ERROR(
      loop->Add(result->event_->fd(), /*edge_triggered=*/true,
                [event = result->event_, callback = std::move(callback)] {
                  const absl::StatusOr<uint64_t> count = event->Read();
                  if (count.ok() && *count > 0) callback();
                }));
  result->watched_ = true;
  PASSTHRU_RETURN_IF_ERROR(result->connect_(result->event_->fd()));
  result->connected_ = true;
  return result;
}

DeviceEvent::~DeviceEvent() {
  // This fails if the device no longer exists, which then signals nothing.
  if (connected_) connect_(-1).IgnoreError();
  if (watched_) loop_->Remove(event_->fd()).IgnoreError();
}

}  // namespace passthru::vfio_pci
