// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_EMULATOR_H_
#define PASSTHRU_TESTING_PRELOAD_EMULATOR_H_

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

namespace passthru::preload {

inline constexpr int kLongestInstruction = 15;

enum class Emulated {
  kDone,      // The registers are as after the instruction.
  kNoAnswer,  // An access was refused, and the registers are as before.
  kUnknown,   // The emulator does not know the instruction.
};

// Access the memory operands of the instruction. They return false if the
// access is refused.
using LoadMemory = bool (*)(uint64_t address, void* data, size_t size);
using StoreMemory = bool (*)(uint64_t address, const void* data, size_t size);

// Executes the instruction of x86-64 at the context's RIP. It knows those with
// which compilers and C libraries access memory: moves of all widths, the
// arithmetic and the bit tests of one memory operand, with or without a LOCK
// prefix, string instructions, and moves of SSE, AVX and AVX-512 registers
// (Intel SDM vol. 2). An access to memory is one access, whatever its width.
Emulated Emulate(mcontext_t& context, LoadMemory load, StoreMemory store);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_EMULATOR_H_
