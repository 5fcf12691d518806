// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_
#define PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::vmm {

// One run of a scenario in which one kernel call fails. The fault walk counts
// the calls that can fail on Linux (testing/journal/linux_errnos.h) from the
// moment when the scenario arms the failure. The call with the number `call`
// fails with number `choice` of its errnos. Calls that wait (KVM_RUN,
// epoll_wait) do not count, because other tests cover their failures.
struct WalkPlan {
  enum class Scenario {
    // Creates the machine, attaches one device, and releases everything.
    kMachine,
    // Starts one device, an edu that is called the bystander. Then it arms the
    // failure and attaches another device, an NVMe controller that is called
    // the subject. The guest brings the subject up, writes and verifies blocks,
    // moves the BARs, writes and verifies again, and masks and unmasks vectors
    // while the device interrupts. Then the VMM unplugs the subject with its
    // vectors enabled and its BARs mapped, and at the end detaches the
    // bystander.
    kDevice,
  };
  Scenario scenario = Scenario::kDevice;
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
  // Whether the subject and the bystander share an IOMMU group.
  bool one_group = false;
  size_t call = 1;    // from 1
  size_t choice = 0;  // from 0
  // Whether all later calls of the same kind (the same row of the table of
  // errnos) fail too.
  bool for_good = false;
};

// The effect of the failure on the subject. The outcome does not say whether
// the guest or the VMM learned of the failure. If neither did, that is a
// problem.
enum class WalkOutcome {
  kNoSuchCall,  // the scenario made fewer calls, so nothing failed
  kUnharmed,    // the failure had no effect
  kRefused,     // the attach, or the machine's creation, failed
  kDegraded,    // the device works less well (VfioPciDevice::Describe())
  kDead,        // the driver gave up, as it does when hardware is removed
  kTeardown,    // the call failed in the unplug, which nevertheless completed
};
std::string_view Name(WalkOutcome outcome);

struct WalkResult {
  WalkOutcome outcome = WalkOutcome::kNoSuchCall;
  // The call that failed, as in "KVM_IRQFD(vm, ...) = ENOMEM".
  std::string fault;
  // The number of errnos with which that call can fail.
  size_t choices = 0;
  // What went wrong. Each entry is a defect of the VMM or of the simulation.
  std::vector<std::string> problems;
};

// Runs the scenario once, on a simulated host of its own.
WalkResult RunFaultWalk(const WalkPlan& plan);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_
