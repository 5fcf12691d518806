// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_
#define PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "passthru/devices/interrupts/host_vectors.h"

namespace passthru::interrupts {

// How many of a device's vectors the host can give at once. The guest is shown
// no more: a driver that was promised 16 and gets one would wait for interrupts
// that never come. Without interrupt remapping Linux gives a function one MSI
// vector, whatever its capability says.
//
// Where vectors are allocated one by one (host.dynamic()) there is nothing to
// ask; otherwise the type is enabled, unsignalled, and disabled again. The
// device must have no interrupt type enabled.
absl::StatusOr<uint32_t> ProbeHostVectors(HostVectors& host);

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_
