// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/host_vector_probe.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::interrupts {

absl::StatusOr<uint32_t> ProbeHostVectors(HostVectors& host) {
  const uint32_t count = host.count();
  if (count <= 1 || host.dynamic()) return count;
  const std::vector<int> unsignalled(count, HostVectors::kNoEventFd);
  PASSTHRU_ASSIGN_OR_RETURN(const uint32_t available, host.Set(0, unsignalled));
  // A positive result means that nothing was enabled.
  if (available != 0) return std::min(available, count);
  PASSTHRU_RETURN_IF_ERROR(host.Disable());
  return count;
}

}  // namespace passthru::interrupts
