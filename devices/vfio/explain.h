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

// The errno of a VFIO call as one sentence that says what is wrong and what to
// do about it. The code and errno of the status are the kernel's.

// open("/dev/vfio/vfio").
absl::Status ExplainContainerOpen(int error, std::string_view path);

// VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU) answered 0.
absl::Status ExplainNoType1v2(std::string_view path);

// open("/dev/vfio/<group>").
absl::Status ExplainGroupOpen(int error, std::string_view path);

// VFIO_GROUP_GET_STATUS without VFIO_GROUP_FLAGS_VIABLE.
absl::Status ExplainNotViable(uint32_t group,
                              const std::vector<BlockingDevice>& blocking);

// VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU).
absl::Status ExplainSetIommu(int error, uint32_t group);

// VFIO_GROUP_GET_DEVICE_FD.
absl::Status ExplainDeviceOpen(int error, std::string_view device,
                               uint32_t group);

// VFIO_IOMMU_MAP_DMA; `what` names call and values. ENOMEM is explained with
// this process' limit on locked memory and what it has locked, read from
// /proc.
absl::Status ExplainMapDma(int error, std::string_view what, uint64_t size,
                           kernel::Syscalls* syscalls);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_EXPLAIN_H_
