// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_SAMPLE_VM_H_
#define PASSTHRU_VMM_LINUX_VM_SAMPLE_VM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/vmm/linux_vm/vm_report.h"

namespace passthru::vmm {

// Returns the smallest file that is a bzImage. The simulated vCPU runs a
// program of the caller instead.
std::vector<uint8_t> EmptyKernel();

// Runs a LinuxVm on the simulated kernel, with these captured devices. Its
// guest drives them, writes to its serial console and turns the power off.
// Returns the report of the run.
absl::StatusOr<std::unique_ptr<VmReport>> RunSampleVm(
    const std::vector<std::string>& fixtures);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_SAMPLE_VM_H_
