// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/random_calls/call_runner.h"
#include "passthru/testing/random_calls/comparison.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {
namespace {

using ::absl_testing::IsOk;
using ::testing::Contains;
using ::testing::Not;
using ::testing::SizeIs;

constexpr size_t kLength = 60;

// Two simulated machines with the same device.
class RandomCallsTest : public ::testing::Test {
 protected:
  void Start(const std::string& name,
             fake::KernelVersion first = fake::KernelVersion::k6_12,
             fake::KernelVersion second = fake::KernelVersion::k6_12) {
    first_ = Make(name, first, runner_);
    second_ = Make(name, second, other_);
    const auto shape = runner_->AskShape();
    ASSERT_THAT(shape, IsOk());
    shape_ = *shape;
    comparison_.emplace(runner_.get(), other_.get(), shape_);
  }

  // Returns the shrunk difference of the first of `seeds` that differs.
  std::optional<Difference> FindDifference(uint64_t seeds) {
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      auto difference = comparison_->Compare(Draw(shape_, seed, kLength));
      EXPECT_THAT(difference, IsOk());
      if (!difference.ok()) return std::nullopt;
      if (!difference->has_value()) continue;
      const auto shrunk = comparison_->Shrink(**difference);
      EXPECT_THAT(shrunk, IsOk());
      return shrunk.ok() ? std::optional(*shrunk) : std::nullopt;
    }
    return std::nullopt;
  }

  std::unique_ptr<fake::SimulatedHost> first_;
  std::unique_ptr<fake::SimulatedHost> second_;
  std::unique_ptr<CallRunner> runner_;
  std::unique_ptr<CallRunner> other_;
  Shape shape_;
  std::optional<Comparison> comparison_;

 private:
  static std::unique_ptr<fake::SimulatedHost> Make(
      const std::string& name, fake::KernelVersion version,
      std::unique_ptr<CallRunner>& runner) {
    auto host =
        std::make_unique<fake::SimulatedHost>(fake::SimulatedHost::Options{
            .kernel = {.version = version}, .enforce_invariants = false});
    // The calls break the rules on purpose.
    host->kernel().SetObserver(nullptr);
    const auto bdf = host->AddFixture("testing/fixtures/" + name + ".textproto",
                                      {.group = 5});
    EXPECT_THAT(bdf, IsOk());
    if (!bdf.ok()) return host;
    runner = std::make_unique<CallRunner>(&host->kernel(), bdf->ToString(), 5);
    return host;
  }
};

TEST_F(RandomCallsTest, SeedDecidesTheCalls) {
  Start("e1000e");
  EXPECT_EQ(Draw(shape_, 7, kLength), Draw(shape_, 7, kLength));
  EXPECT_THAT(Draw(shape_, 7, kLength), SizeIs(kLength));
  EXPECT_NE(Draw(shape_, 7, kLength), Draw(shape_, 8, kLength));
}

TEST_F(RandomCallsTest, EveryKindOfCallIsDrawnAndSomeOfEachWork) {
  Start("nvme");
  std::set<CallKind> drawn;
  std::set<CallKind> worked;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    const Sequence calls = Draw(shape_, seed, kLength);
    const auto answers = runner_->Run(shape_, calls);
    ASSERT_THAT(answers, IsOk());
    ASSERT_THAT(*answers, SizeIs(calls.size()));
    for (size_t i = 0; i < calls.size(); ++i) {
      drawn.insert(calls[i].kind);
      if ((*answers)[i][0] != 'E') worked.insert(calls[i].kind);
    }
  }
  EXPECT_THAT(drawn, SizeIs(kCallKinds));
  // A slot of QEMU's root ports has no reset.
  worked.insert(CallKind::kHotReset);
  worked.insert(CallKind::kNoArgument);
  EXPECT_THAT(worked, SizeIs(kCallKinds));
}

TEST_F(RandomCallsTest, TheSameKernelAnswersTheSame) {
  for (const char* name : {"nvme", "e1000e", "virtio_net"}) {
    Start(name);
    EXPECT_EQ(FindDifference(10), std::nullopt) << name;
  }
}

// Between these kernels, among others, the order of the checks of SET_IRQS
// changed.
TEST_F(RandomCallsTest, OtherKernelIsFound) {
  Start("e1000e", fake::KernelVersion::k6_1, fake::KernelVersion::k6_12);
  EXPECT_NE(FindDifference(20), std::nullopt);
}

TEST_F(RandomCallsTest, CallsEndWithTheFirstDifference) {
  Start("nvme");
  const Sequence calls = {
      {CallKind::kReadConfig, {0, 4}}, {CallKind::kSetCommand, {6}},
      {CallKind::kReset, {}},          {CallKind::kReadConfig, {0x40, 4}},
      {CallKind::kReset, {}},          {CallKind::kReadConfig, {0, 4}},
  };
  // The second kernel refuses one reset, which is the second of this run.
  second_->kernel().faults().FailNthOf("VFIO_DEVICE_RESET", 2, EBUSY);
  const auto difference = comparison_->Compare(calls);
  ASSERT_THAT(difference, IsOk());
  ASSERT_TRUE(difference->has_value());
  EXPECT_EQ((*difference)->calls, Sequence(calls.begin(), calls.end() - 1));
  EXPECT_EQ((*difference)->expected.back(), "0");
  EXPECT_EQ((*difference)->found.back(), "EBUSY");
}

TEST_F(RandomCallsTest, ShrinkingKeepsTheDifference) {
  Start("e1000e", fake::KernelVersion::k6_1, fake::KernelVersion::k6_12);
  const std::optional<Difference> difference = FindDifference(20);
  ASSERT_NE(difference, std::nullopt);
  // No call of it can be left out.
  for (size_t left_out = 0; left_out + 1 < difference->calls.size();
       ++left_out) {
    Sequence fewer = difference->calls;
    fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(left_out));
    const auto again = comparison_->Compare(fewer);
    ASSERT_THAT(again, IsOk());
    const bool same = again->has_value() &&
                      (*again)->calls.back() == difference->calls.back() &&
                      (*again)->found.back() == difference->found.back() &&
                      (*again)->expected.back() == difference->expected.back();
    EXPECT_FALSE(same) << difference->ToString();
  }
}

TEST_F(RandomCallsTest, NothingIsLeftOpen) {
  Start("virtio_net");
  ASSERT_THAT(runner_->Run(shape_, Draw(shape_, 3, kLength)), IsOk());
  EXPECT_TRUE(first_->kernel().CheckLeaks().empty())
      << first_->kernel().CheckLeaks();
}

TEST_F(RandomCallsTest, VirtiosWindowToItsBarsIsLeftAlone) {
  Start("virtio_net");
  EXPECT_THAT(shape_.excluded, Contains(true));
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    for (const RandomCall& call : Draw(shape_, seed, kLength)) {
      if (call.kind != CallKind::kWriteConfig) continue;
      for (uint64_t i = 0; i < call.arguments[1]; ++i) {
        const uint64_t at = call.arguments[0] + i;
        EXPECT_FALSE(at < shape_.excluded.size() && shape_.excluded[at]);
      }
    }
  }
}

TEST_F(RandomCallsTest, BusyDeviceIsOneClearError) {
  Start("nvme");
  const auto group = first_->kernel().Open("/dev/vfio/5", O_RDWR);
  ASSERT_TRUE(group.ok());
  const auto answers = runner_->Run(shape_, {});
  EXPECT_THAT(answers, Not(IsOk()));
  EXPECT_THAT(std::string(answers.status().message()),
              ::testing::HasSubstr("end the programs that use it"));
  first_->kernel().Close(group.value);
}

}  // namespace
}  // namespace passthru::random_calls
