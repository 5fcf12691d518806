// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/strong_int.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"

namespace passthru::allocator {
namespace {

static_assert(!std::is_convertible_v<Gsi, MemorySlot>);
static_assert(!std::is_constructible_v<Gsi, MemorySlot>);

// Tests every class that says no more than its name and its width.
template <typename T>
class StrongIntTest : public testing::Test {
  static_assert(!std::is_convertible_v<uint32_t, T>);
  static_assert(!std::is_convertible_v<T, uint32_t>);
};
using Classes = testing::Types<Gsi, MemorySlot>;
TYPED_TEST_SUITE(StrongIntTest, Classes);

TYPED_TEST(StrongIntTest, OrdersByValue) {
  EXPECT_LT(TypeParam(1), TypeParam(2));
  EXPECT_EQ(TypeParam(2), TypeParam(2));
  EXPECT_EQ(TypeParam().value(), 0u);
}

TYPED_TEST(StrongIntTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {TypeParam(), TypeParam(1), TypeParam(0xffffffff)}));
}

TYPED_TEST(StrongIntTest, PrintsItsNumber) {
  EXPECT_EQ(absl::StrCat(TypeParam(4095)), "4095");
}

}  // namespace
}  // namespace passthru::allocator
