// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/guest_address.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::memory {
namespace {

static_assert(!std::is_convertible_v<uint64_t, GuestAddress>);
static_assert(!std::is_convertible_v<GuestAddress, uint64_t>);

TEST(GuestAddressTest, OrdersByValue) {
  EXPECT_LT(GuestAddress(1), GuestAddress(uint64_t{1} << 63));
  EXPECT_EQ(GuestAddress(2), GuestAddress(2));
  EXPECT_EQ(GuestAddress().value(), 0u);
}

TEST(GuestAddressTest, MovesByABareNumber) {
  EXPECT_EQ(GuestAddress(0x1000) + 0x234, GuestAddress(0x1234));
}

TEST(GuestAddressTest, TheDifferenceIsABareNumber) {
  EXPECT_EQ(GuestAddress(0x1234) - GuestAddress(0x1000), uint64_t{0x234});
}

TEST(GuestAddressTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {GuestAddress(), GuestAddress(1), GuestAddress(uint64_t{1} << 32)}));
}

TEST(GuestAddressTest, PrintsInHexadecimal) {
  EXPECT_EQ(absl::StrCat(GuestAddress(0)), "0x0");
  EXPECT_EQ(absl::StrCat(GuestAddress(0xfee00000)), "0xfee00000");
}

}  // namespace
}  // namespace passthru::memory
