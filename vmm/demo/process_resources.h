// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_
#define PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace passthru::vmm {

// Returns the kernel resources that this process holds, sorted. They are all
// its descriptors, and its mappings of devices and of descriptors without a
// file (VFIO devices, VMs, vCPUs). An example is "descriptor of
// anon_inode:kvm-vm". Memory slots, irqfds, routes and DMA mappings belong to
// such descriptors, and the kernel releases them with the descriptor. Returns
// Unavailable if /proc/self/fd cannot be read.
absl::StatusOr<std::vector<std::string>> ProcessResources();

// Returns the resources in `after` that are not in `before`. Both must be
// sorted.
std::vector<std::string> NewResources(const std::vector<std::string>& before,
                                      const std::vector<std::string>& after);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_
