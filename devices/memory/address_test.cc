// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/address.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/iova.h"

namespace passthru::memory {
namespace {

static_assert(!std::is_constructible_v<Iova, GuestAddress>);
static_assert(!std::is_constructible_v<GuestAddress, Iova>);

template <typename T>
class AddressTest : public testing::Test {
  static_assert(!std::is_convertible_v<uint64_t, T>);
  static_assert(!std::is_convertible_v<T, uint64_t>);
};
using Addresses = testing::Types<GuestAddress, Iova>;
TYPED_TEST_SUITE(AddressTest, Addresses);

TYPED_TEST(AddressTest, OrdersByValue) {
  EXPECT_LT(TypeParam(1), TypeParam(uint64_t{1} << 63));
  EXPECT_EQ(TypeParam(2), TypeParam(2));
  EXPECT_EQ(TypeParam().value(), 0u);
}

TYPED_TEST(AddressTest, MovesByABareNumber) {
  EXPECT_EQ(TypeParam(0x1000) + 0x234, TypeParam(0x1234));
}

TYPED_TEST(AddressTest, TheDifferenceIsABareNumber) {
  EXPECT_EQ(TypeParam(0x1234) - TypeParam(0x1000), uint64_t{0x234});
}

TYPED_TEST(AddressTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {TypeParam(), TypeParam(1), TypeParam(uint64_t{1} << 32)}));
}

TYPED_TEST(AddressTest, PrintsInHexadecimal) {
  EXPECT_EQ(absl::StrCat(TypeParam(0)), "0x0");
  EXPECT_EQ(absl::StrCat(TypeParam(0xfee00000)), "0xfee00000");
}

}  // namespace
}  // namespace passthru::memory
