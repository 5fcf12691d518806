// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_EXPLAIN_H_
#define PASSTHRU_DEVICES_VFIO_EXPLAIN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/find_group.h"

namespace passthru::vfio {

// These functions turn the failure of a VFIO call into a status whose message
// is one sentence that says what is wrong and what to do about it. Functions
// that take `error`, the errno, keep it in the status.

// Explains a failure of open("/dev/vfio/vfio").
absl::Status ExplainContainerOpen(int error, std::string_view path);

// Explains that VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU) returned 0.
absl::Status ExplainNoType1v2(std::string_view path);

// Explains a failure of open("/dev/vfio/<group>").
absl::Status ExplainGroupOpen(int error, std::string_view path);

// Explains that VFIO_GROUP_GET_STATUS did not set VFIO_GROUP_FLAGS_VIABLE.
absl::Status ExplainNotViable(uint32_t group,
                              const std::vector<BlockingDevice>& blocking);

// Explains a failure of VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU).
absl::Status ExplainSetIommu(int error, uint32_t group);

// Explains a failure of VFIO_GROUP_GET_DEVICE_FD. `with_vf_token` says whether
// the call had one.
absl::Status ExplainDeviceOpen(int error, std::string_view device,
                               uint32_t group, bool with_vf_token = false);

// Explains a failure of VFIO_IOMMU_MAP_DMA. `what` names the call and its
// values. For ENOMEM, the message includes this process's limit on locked
// memory and the amount that it has locked, which this reads from /proc.
absl::Status ExplainMapDma(int error, std::string_view what, uint64_t size,
                           kernel::Syscalls* syscalls);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_EXPLAIN_H_
