// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_INSPECT_MACHINE_STATE_H_
#define PASSTHRU_VMM_INSPECT_MACHINE_STATE_H_

#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/inspect/state_tree.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

// Returns the state of a machine and its devices, which may run: exits, slots,
// DMA mappings, routes, root ports, and of each device its BARs, vectors,
// counters, degradations and last failures.
//
// Any thread may call it. It acquires the lock of one part after the other,
// each for as long as it takes to copy what the part has. So parts may be of
// different moments, and no vCPU waits for longer than that.
StateTree DescribeMachine(Machine& machine, DeviceManager& devices,
                          const ExitCounts& exits);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_INSPECT_MACHINE_STATE_H_
