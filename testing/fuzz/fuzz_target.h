// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_
#define PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

// What a fuzz target defines and libFuzzer, or replay_main.cc, calls with one
// input after the other. It returns 0; a mistake found is a crash. An input
// must do the same each time, so nothing of one is left for the next.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_
