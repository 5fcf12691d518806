// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/intx_line.h"

#include <utility>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::vfio_pci {

absl::Status IntxLine::Enable() {
  if (enabled()) return absl::OkStatus();
  PASSTHRU_RETURN_IF_ERROR(Disable());
  PASSTHRU_ASSIGN_OR_RETURN(kernel::EventFd trigger,
                            kernel::EventFd::Create(options_.syscalls));
  PASSTHRU_ASSIGN_OR_RETURN(kernel::EventFd resample,
                            kernel::EventFd::Create(options_.syscalls));

  // Connect the guest's end before the device's, so that no signal is lost. An
  // interrupt between SetTrigger() and SetUnmask() leaves the line masked. Its
  // acknowledgement stays pending in the resample eventfd, and takes effect
  // when SetUnmask() connects that.
  absl::Status status = options_.controller->AssignResampleIrqfd(
      trigger.fd(), resample.fd(), options_.gsi);
  if (!status.ok()) return kernel::Annotate(status, options_.name);
  status = options_.host->SetTrigger(trigger.fd());
  if (status.ok()) {
    status = options_.host->SetUnmask(resample.fd());
    if (!status.ok()) host_on_ = !options_.host->Disable().ok();
  }
  if (!status.ok()) {
    options_.controller->DeassignIrqfd(trigger.fd(), options_.gsi)
        .IgnoreError();
    return kernel::Annotate(status, options_.name);
  }
  host_on_ = true;
  trigger_ = std::move(trigger);
  resample_ = std::move(resample);
  return absl::OkStatus();
}

absl::Status IntxLine::Disable() {
  absl::Status result;
  if (enabled()) result.Update(options_.host->SetUnmask(-1));
  if (host_on_) {
    const absl::Status disabled = options_.host->Disable();
    host_on_ = !disabled.ok();
    result.Update(disabled);
  }
  if (enabled()) {
    result.Update(
        options_.controller->DeassignIrqfd(trigger_->fd(), options_.gsi));
  }
  trigger_.reset();
  resample_.reset();
  return kernel::Annotate(result, options_.name);
}

void IntxLine::Shutdown() {
  Disable().IgnoreError();
  host_on_ = false;
}

}  // namespace passthru::vfio_pci
