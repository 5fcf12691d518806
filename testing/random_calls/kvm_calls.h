// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_KVM_CALLS_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_KVM_CALLS_H_

#include <string>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/random_calls/objects.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {

// Makes a call of the kinds from kFirstKvmKind on, and says what the kernel
// answered.
std::string AnswerKvm(kernel::Syscalls& kernel, Objects& objects,
                      const RandomCall& call);

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_KVM_CALLS_H_
