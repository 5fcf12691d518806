// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_
#define PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

// The function that a fuzz target defines. libFuzzer or replay_main.cc calls it
// with one input after the other. It returns 0, and reports a mistake by a
// crash. An input must have the same effect each time, so a target must keep no
// state between inputs.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // PASSTHRU_TESTING_FUZZ_FUZZ_TARGET_H_
