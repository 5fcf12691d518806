// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_
#define PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "passthru/devices/interrupts/host_vectors.h"

namespace passthru::interrupts {

// Returns how many of a device's vectors the host can provide at once. The
// guest is shown no more, because a driver that was promised 16 vectors and
// gets one would wait for interrupts that never come. Without interrupt
// remapping Linux gives a function one MSI vector, whatever its capability
// says.
//
// If the host allocates vectors one by one (host.dynamic()), this returns
// host.count() without a system call. Otherwise it enables the type with no
// eventfd connected, and disables it again. The device must have no interrupt
// type enabled.
absl::StatusOr<uint32_t> ProbeHostVectors(HostVectors& host);

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_HOST_VECTOR_PROBE_H_
