// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_
#define PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace passthru::vmm {

// What this process holds of the kernel it runs on, from /proc/self: every
// descriptor, and every mapping of a device or of a descriptor without a file
// (VFIO devices, VMs, vCPUs). Memory slots, irqfds, routes and DMA mappings
// belong to such descriptors and go with them. Sorted; a line each:
// "descriptor of anon_inode:kvm-vm". Fails where /proc cannot be read.
absl::StatusOr<std::vector<std::string>> ProcessResources();

// What is in `after` and was not in `before`; both sorted.
std::vector<std::string> NewResources(const std::vector<std::string>& before,
                                      const std::vector<std::string>& after);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_PROCESS_RESOURCES_H_
