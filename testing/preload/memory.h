// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_MEMORY_H_
#define PASSTHRU_TESTING_PRELOAD_MEMORY_H_

#include <stddef.h>
#include <stdint.h>

namespace passthru::preload {

// Returns whether a byte of the range is a register of a mapped BAR, which
// traps, and how the program has mapped it (PROT_READ, PROT_WRITE). May be
// called from a signal handler.
bool IsRegister(uint64_t address, size_t size, int* protection = nullptr);

// Ends a wait of another thread in a child of fork(2).
void ForgetMappingLock();

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_MEMORY_H_
