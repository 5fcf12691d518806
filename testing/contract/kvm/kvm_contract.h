// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_KVM_KVM_CONTRACT_H_
#define PASSTHRU_TESTING_CONTRACT_KVM_KVM_CONTRACT_H_

#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {

// Asks /dev/kvm every question that the fake must answer as Linux does. The
// fake and the real kernel get the same questions, and tests compare both with
// the answers of "kvm" (testing/contract/answers.h). Leaves nothing behind.
std::vector<Observation> ObserveKvm(kernel::Syscalls* syscalls);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_KVM_KVM_CONTRACT_H_
