// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_MEASURE_H_
#define PASSTHRU_VMM_BENCHMARK_MEASURE_H_

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "passthru/vmm/benchmark/table.h"

namespace passthru::benchmark {

// Keeps the compiler from leaving out the computation of `value`.
template <typename T>
void Use(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

// Returns how long one call of each of `bodies` takes, in nanoseconds. They
// take turns, so that what disturbs the machine for a while disturbs all of
// them. Each figure is the shortest of many rounds, because everything that
// disturbs a round makes it longer.
template <typename... Bodies>
std::array<double, sizeof...(Bodies)> NanosecondsOfEach(Bodies... bodies) {
  using Clock = std::chrono::steady_clock;
  // Short enough to lie between two interruptions by another process.
  constexpr std::chrono::milliseconds kRound(1);
  constexpr int kRounds = 50;
  const auto run = [](auto& body, uint64_t times) -> Clock::duration {
    const Clock::time_point start = Clock::now();
    for (uint64_t i = 0; i < times; ++i) body();
    return Clock::now() - start;
  };
  const auto times_of = [&](auto& body) {
    uint64_t times = 1;
    while (run(body, times) < kRound) times *= 2;
    return times;
  };
  const std::array<uint64_t, sizeof...(Bodies)> times = {times_of(bodies)...};
  std::array<double, sizeof...(Bodies)> best;
  best.fill(std::numeric_limits<double>::infinity());
  for (int round = 0; round < kRounds; ++round) {
    size_t i = 0;
    const auto take_turn = [&](auto& body) {
      const std::chrono::duration<double, std::nano> took = run(body, times[i]);
      best[i] = std::min(best[i], took.count() / static_cast<double>(times[i]));
      ++i;
    };
    (take_turn(bodies), ...);
  }
  return best;
}

// Returns how long one call of `body` takes, in nanoseconds.
template <typename Body>
double NanosecondsEach(Body body) {
  return NanosecondsOfEach(body)[0];
}

// Returns how often a call of `body` allocates memory, on average over many.
double AllocationsEach(absl::FunctionRef<void()> body);

// Prints a table as TableText() makes it.
void PrintTable(std::string_view title, std::string_view about,
                const Rows& rows);

// Adds a row for an access beside the bare call that it contains.
template <typename Access, typename Bare>
void AddAccessBeside(Rows& rows, std::string_view what, Access access,
                     Bare bare) {
  const auto [ours, call] = NanosecondsOfEach(access, bare);
  rows.push_back({std::string(what), absl::StrFormat("%.1f", ours),
                  absl::StrFormat("%.1f", call),
                  absl::StrFormat("%.0f %%", 100 * (ours - call) / call),
                  absl::StrFormat("%.0f", AllocationsEach(access))});
}

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_MEASURE_H_
