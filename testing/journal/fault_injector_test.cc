// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/fault_injector.h"

#include <cerrno>
#include <optional>
#include <string_view>

#include "gtest/gtest.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {
namespace {

// Returns the injected errno, or 0 if the call is carried out.
int ErrorOf(FaultInjector& faults, std::string_view name) {
  const std::optional<Fault> fault =
      faults.OnCall(Call{.name = std::string(name)});
  return fault.has_value() ? fault->error : 0;
}

TEST(FaultInjectorTest, NothingFailsByItself) {
  FaultInjector faults;
  EXPECT_EQ(ErrorOf(faults, "open"), 0);
  EXPECT_EQ(faults.injected(), 0u);
}

TEST(FaultInjectorTest, NthOfAllFailsOnce) {
  FaultInjector faults;
  faults.FailNth(2, ENOMEM);
  EXPECT_EQ(ErrorOf(faults, "open"), 0);
  EXPECT_EQ(ErrorOf(faults, "mmap"), ENOMEM);
  EXPECT_EQ(ErrorOf(faults, "mmap"), 0);
  EXPECT_EQ(faults.injected(), 1u);
  EXPECT_EQ(faults.counted_calls(), 3u);
}

TEST(FaultInjectorTest, CleanUpAndWaitsAreNotAmongAll) {
  FaultInjector faults;
  faults.FailNth(1, ENOMEM);
  for (const char* name :
       {"close", "munmap", "KVM_RUN", "poll", "epoll_wait"}) {
    EXPECT_EQ(ErrorOf(faults, name), 0) << name;
  }
  EXPECT_EQ(faults.counted_calls(), 0u);
  EXPECT_EQ(ErrorOf(faults, "open"), ENOMEM);
}

TEST(FaultInjectorTest, NthOfAKindCountsOnlyThatKind) {
  FaultInjector faults;
  faults.FailNthOf("KVM_IRQFD", 2, EBUSY);
  EXPECT_EQ(ErrorOf(faults, "KVM_IRQFD"), 0);
  EXPECT_EQ(ErrorOf(faults, "open"), 0);
  EXPECT_EQ(ErrorOf(faults, "KVM_IRQFD"), EBUSY);
  EXPECT_EQ(ErrorOf(faults, "KVM_IRQFD"), 0);
}

TEST(FaultInjectorTest, CloseFailsWhenNamed) {
  FaultInjector faults;
  faults.FailNthOf("close", 1, EIO);
  EXPECT_EQ(ErrorOf(faults, "close"), EIO);
}

TEST(FaultInjectorTest, StickyRuleGoesOnFailing) {
  FaultInjector faults;
  faults.FailNthOf("mmap", 2, ENOMEM, FaultInjector::Mode::kSticky);
  EXPECT_EQ(ErrorOf(faults, "mmap"), 0);
  EXPECT_EQ(ErrorOf(faults, "mmap"), ENOMEM);
  EXPECT_EQ(ErrorOf(faults, "mmap"), ENOMEM);
  faults.Clear();
  EXPECT_EQ(ErrorOf(faults, "mmap"), 0);
}

TEST(FaultInjectorTest, RuleThatCannotFireAgainIsNone) {
  FaultInjector faults;
  EXPECT_FALSE(faults.has_rules());
  faults.FailNth(1, EIO);
  faults.FailNthOf("mmap", 1, EBUSY);
  EXPECT_EQ(ErrorOf(faults, "open"), EIO);
  EXPECT_TRUE(faults.has_rules());
  EXPECT_EQ(ErrorOf(faults, "mmap"), EBUSY);
  EXPECT_FALSE(faults.has_rules());
  EXPECT_EQ(faults.injected(), 2u);
  faults.FailNth(1, EIO, FaultInjector::Mode::kSticky);
  EXPECT_EQ(ErrorOf(faults, "open"), EIO);
  EXPECT_TRUE(faults.has_rules());
}

TEST(FaultInjectorTest, PredicateSeesTheArguments) {
  FaultInjector faults;
  faults.FailWhen(
      [](const Call& call) {
        const CallField* const gsi = call.Find("gsi");
        return gsi != nullptr && gsi->number == 25;
      },
      ENOSPC);
  Call call{.name = "KVM_IRQFD"};
  call.Number("gsi", 24);
  EXPECT_FALSE(faults.OnCall(call).has_value());
  call.fields.clear();
  call.Number("gsi", 25);
  ASSERT_TRUE(faults.OnCall(call).has_value());
}

TEST(FaultInjectorTest, ShortensATransfer) {
  FaultInjector faults;
  faults.ShortenNthOf("pread", 1, 3);
  const std::optional<Fault> fault = faults.OnCall(Call{.name = "pread"});
  ASSERT_TRUE(fault.has_value());
  EXPECT_EQ(fault->error, 0);
  EXPECT_EQ(fault->short_count, 3u);
}

TEST(FaultInjectorTest, RulesCountIndependently) {
  FaultInjector faults;
  faults.FailNthOf("open", 1, EACCES);
  faults.FailNth(2, ENOMEM);
  EXPECT_EQ(ErrorOf(faults, "open"), EACCES);
  EXPECT_EQ(ErrorOf(faults, "open"), ENOMEM);
}

TEST(FaultInjectorTest, AChooserDecidesAboutEveryCall) {
  FaultInjector faults;
  int seen = 0;
  faults.FailAsChosen([&seen](const Call& call) -> std::optional<Fault> {
    ++seen;
    if (call.name == "mmap") return Fault{.error = ENOMEM};
    return std::nullopt;
  });
  EXPECT_FALSE(faults.OnCall({.name = "open"}).has_value());
  EXPECT_EQ(faults.OnCall({.name = "mmap"})->error, ENOMEM);
  EXPECT_EQ(faults.OnCall({.name = "mmap"})->error, ENOMEM);
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(faults.injected(), 2u);
}

}  // namespace
}  // namespace passthru::journal
