// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_
#define PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::vmm {

// One scenario of a machine with two devices, in which one call to the kernel
// fails: of those that can fail on Linux (testing/linux_errnos.h), the `call`th
// since the fault was armed, with the `choice`th of its errnos. Waits (KVM_RUN,
// epoll_wait) are not among them: what they answer is tested elsewhere.
struct WalkPlan {
  enum class Scenario {
    // Create the machine, attach the first device, give everything back.
    kMachine,
    // With a device at work (the bystander, an edu), attach another one (the
    // subject, an NVMe controller), bring it up, write and verify, move its
    // BARs, write and verify again, storm its masks, unplug it with its vectors
    // enabled and its BARs mapped, detach.
    kDevice,
  };
  Scenario scenario = Scenario::kDevice;
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
  // Subject and bystander share an IOMMU group.
  bool one_group = false;
  size_t call = 1;
  size_t choice = 0;
  // Not this call alone fails, but all later ones like it (of its row) too.
  bool for_good = false;
};

// What came of it. Where the fault left a mark, the guest or the VMM was told:
// that is checked, not counted.
enum class WalkOutcome {
  kNoSuchCall,  // fewer calls than that were made: nothing failed
  kUnharmed,    // everything was as without the fault
  kRefused,     // the attach failed, and nothing of it is left
  kDegraded,    // the device works, less well: see VfioPciDevice::Describe()
  kDead,        // its driver gave up, as with hardware that is gone
  kTeardown,    // it worked; the unplug reported the failure and went through
};
std::string_view Name(WalkOutcome outcome);

struct WalkResult {
  WalkOutcome outcome = WalkOutcome::kNoSuchCall;
  // "KVM_IRQFD(vm, ...) = ENOMEM".
  std::string fault;
  // In how many ways that call can fail.
  size_t choices = 0;
  // What should not be: each is a defect.
  std::vector<std::string> problems;
};

WalkResult RunFaultWalk(const WalkPlan& plan);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_FAULT_WALK_H_
