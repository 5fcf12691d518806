// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/leak_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::fake {
namespace {

using ::testing::ElementsAre;

TEST(LeakCheckTest, NothingHeldIsNothingLeaked) {
  EXPECT_TRUE(FindLeaks({}, {}).empty());
  EXPECT_EQ(FindLeaks({}, {}).ToString(), "nothing leaked");
}

TEST(LeakCheckTest, OnlyWhatIsNewIsALeak) {
  EXPECT_THAT(FindLeaks({"a", "c"}, {"c", "b", "a"}).leaks, ElementsAre("b"));
}

TEST(LeakCheckTest, WhatWentAwayIsNoLeak) {
  EXPECT_TRUE(FindLeaks({"a", "b"}, {"b"}).empty());
}

TEST(LeakCheckTest, EqualLinesCountEachTime) {
  EXPECT_THAT(FindLeaks({"a"}, {"a", "a", "a"}).leaks, ElementsAre("a", "a"));
}

TEST(LeakCheckTest, ReportIsALineEach) {
  EXPECT_EQ(FindLeaks({}, {"fd 7: vm", "fd 8: eventfd"}).ToString(),
            "2 leaked:\n  fd 7: vm\n  fd 8: eventfd");
}

}  // namespace
}  // namespace passthru::fake
