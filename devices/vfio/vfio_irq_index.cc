// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_irq_index.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::vfio {

absl::StatusOr<uint32_t> VfioIrqIndex::Set(uint32_t start,
                                           absl::Span<const int> event_fds) {
  return device_->SetIrqEventFds(index_, start, event_fds);
}

absl::Status VfioIrqIndex::Disable() { return device_->DisableIrq(index_); }

}  // namespace passthru::vfio
