// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_REPLAY_H_
#define PASSTHRU_TESTING_PRELOAD_REPLAY_H_

#include <ucontext.h>

#include "testing/preload/emulator.h"

namespace passthru::preload {

// Executes a vector instruction that computes with a memory operand, such as
// those of memcmp(3), at the context's RIP. The processor itself executes it,
// on a copy of the operand. Knows the packed operations of SSE, AVX and AVX-512
// that read as much as the vector has.
Emulated Replay(mcontext_t& context, LoadMemory load);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_REPLAY_H_
