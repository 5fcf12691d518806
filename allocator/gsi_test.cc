// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/gsi.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::allocator {
namespace {

static_assert(!std::is_convertible_v<uint32_t, Gsi>);
static_assert(!std::is_convertible_v<Gsi, uint32_t>);

TEST(GsiTest, OrdersByValue) {
  EXPECT_LT(Gsi(1), Gsi(2));
  EXPECT_EQ(Gsi(2), Gsi(2));
  EXPECT_EQ(Gsi().value(), 0u);
}

TEST(GsiTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Gsi(), Gsi(1), Gsi(0xffffffff)}));
}

TEST(GsiTest, PrintsItsNumber) { EXPECT_EQ(absl::StrCat(Gsi(4095)), "4095"); }

}  // namespace
}  // namespace passthru::allocator
