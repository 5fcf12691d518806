// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/page_size.h"

#include "absl/numeric/bits.h"
#include "gtest/gtest.h"

namespace passthru::kernel {
namespace {

TEST(PageSizeTest, IsAPowerOfTwoOfAtLeast4KiB) {
  EXPECT_TRUE(absl::has_single_bit(PageSize()));
  EXPECT_GE(PageSize(), 4096u);
}

TEST(PageSizeTest, AlignmentIsThatOfWholePages) {
  EXPECT_TRUE(IsPageAligned(0));
  EXPECT_TRUE(IsPageAligned(PageSize()));
  EXPECT_FALSE(IsPageAligned(PageSize() - 1));
  EXPECT_FALSE(IsPageAligned(PageSize() + PageSize() / 2));
}

}  // namespace
}  // namespace passthru::kernel
