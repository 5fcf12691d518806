// SPDX-License-Identifier: Apache-2.0
//
// Lets every kernel call of the fault walk fail once with each errno that Linux
// has for it. The worst that may happen is that the device is not attached, is
// slower, or no longer works for its driver. A message must mention the
// failure, the rest of the machine must go on, and there must be no crash,
// hang, leak or violated invariant.
#include "passthru/vmm/fault_walk/fault_walk.h"

#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::vmm {
namespace {

using Scenario = WalkPlan::Scenario;

struct Variant {
  const char* name;
  WalkPlan plan;
  // Whether each call fails with each of its errnos, or only with the first.
  bool every_errno = false;
};

// The counts that the test prints, which continuous integration shows.
std::map<std::string, size_t>& Counts() {
  static auto* const counts = new std::map<std::string, size_t>();
  return *counts;
}

class PrintCounts : public ::testing::Environment {
 public:
  void TearDown() override {
    for (const auto& [what, count] : Counts()) {
      std::cout << "COUNT: " << count << " " << what << "\n";
    }
  }
};
const ::testing::Environment* const kPrintCounts =
    ::testing::AddGlobalTestEnvironment(new PrintCounts);

// The number of tests among which each variant's calls are divided, so that
// shards can run them.
constexpr size_t kHands = 8;

// Returns the distance from one failing call to the next. It is 1, or the value
// of FAULT_WALK_STRIDE where runs are slow (see .bazelrc).
size_t Stride() {
  const char* const value = std::getenv("FAULT_WALK_STRIDE");
  size_t stride = 0;
  return absl::SimpleAtoi(value == nullptr ? "1" : value, &stride) && stride > 0
             ? stride
             : 1;
}

class FaultWalkTest
    : public ::testing::TestWithParam<std::tuple<Variant, size_t>> {};

TEST_P(FaultWalkTest, EveryCallMayFail) {
  const auto& [variant, hand] = GetParam();
  size_t injected = 0;
  const size_t step = kHands * Stride();
  for (size_t call = hand + 1;; call += step) {
    size_t choices = 1;
    for (size_t choice = 0; choice < choices; ++choice) {
      WalkPlan plan = variant.plan;
      plan.call = call;
      plan.choice = choice;
      const WalkResult result = RunFaultWalk(plan);
      EXPECT_TRUE(result.problems.empty())
          << "call " << call << ", choice " << choice << ", " << result.fault
          << ", " << Name(result.outcome) << ":\n  "
          << absl::StrJoin(result.problems, "\n  ");
      ++Counts()["scenarios of the fault walker"];
      if (result.outcome == WalkOutcome::kNoSuchCall) {
        EXPECT_GT(injected, 0u);
        return;
      }
      if (choice == 0) ++Counts()["kernel calls walked"];
      if (variant.every_errno) choices = result.choices;
      ++injected;
      ++Counts()["kernel failures injected and survived"];
      ++Counts()[absl::StrCat("kernel failures: ", Name(result.outcome))];
    }
    ASSERT_LT(call, 5000u);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Variants, FaultWalkTest,
    ::testing::Combine(
        ::testing::Values(
            Variant{"Machine", {.scenario = Scenario::kMachine}, true},
            Variant{"Device", {}, true},
            Variant{"MachineForGood",
                    {.scenario = Scenario::kMachine, .for_good = true}},
            Variant{"DeviceForGood", {.for_good = true}},
            Variant{"DeviceOnLinux6_1", {.kernel = fake::KernelVersion::k6_1}},
            Variant{"DeviceInOneGroup", {.one_group = true}}),
        ::testing::Range(size_t{0}, kHands)),
    [](const auto& variant) {
      return absl::StrCat(std::get<0>(variant.param).name, "_",
                          std::get<1>(variant.param));
    });

}  // namespace
}  // namespace passthru::vmm
