// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_KVM_CALL_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_KVM_CALL_H_

#include "passthru/testing/random_calls/random_call.h"
#include "passthru/testing/random_calls/source.h"

namespace passthru::random_calls {

// Draws the calls that make a machine, most of them in the order in which a VMM
// makes them, so that later calls find one.
void DrawMachine(Source& source, Sequence& calls);

// Draws one of the calls on KVM that a VMM with a device makes.
RandomCall DrawKvmCall(Source& source);

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_KVM_CALL_H_
