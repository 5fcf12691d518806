// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_MEASURE_H_
#define PASSTHRU_VMM_BENCHMARK_MEASURE_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace passthru::benchmark {

// Keeps the compiler from leaving out the computation of `value`.
template <typename T>
void Use(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

// Returns how long one call of `body` takes, in nanoseconds. It is the shortest
// of several rounds, because everything that disturbs a round makes it longer.
template <typename Body>
double NanosecondsEach(Body body) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kRound(5);
  constexpr int kRounds = 7;
  const auto run = [&body](uint64_t times) {
    const Clock::time_point start = Clock::now();
    for (uint64_t i = 0; i < times; ++i) body();
    return Clock::now() - start;
  };
  uint64_t times = 1;
  while (run(times) < kRound) times *= 2;
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    const std::chrono::duration<double, std::nano> took = run(times);
    best = std::min(best, took.count() / static_cast<double>(times));
  }
  return best;
}

// Returns how often a call of `body` allocates memory, on average over many.
double AllocationsEach(absl::FunctionRef<void()> body);

// Prints a table as TableText() makes it.
void PrintTable(std::string_view title, std::string_view about,
                const std::vector<std::vector<std::string>>& rows);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_MEASURE_H_
