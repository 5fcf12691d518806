// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/plural.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

TEST(CountTest, OneIsSingular) {
  EXPECT_EQ(Count(1, "exit"), "1 exit");
  EXPECT_EQ(Count(1, "capability", "capabilities"), "1 capability");
}

TEST(CountTest, ZeroAndManyArePlural) {
  EXPECT_EQ(Count(0, "exit"), "0 exits");
  EXPECT_EQ(Count(2, "exit"), "2 exits");
  EXPECT_EQ(Count(UINT64_MAX, "exit"), "18446744073709551615 exits");
}

TEST(CountTest, CallerGivesAnIrregularPlural) {
  EXPECT_EQ(Count(0, "capability", "capabilities"), "0 capabilities");
  EXPECT_EQ(Count(11, "capability", "capabilities"), "11 capabilities");
}

}  // namespace
}  // namespace passthru::vmm
