// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/iova.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::memory {
namespace {

static_assert(!std::is_convertible_v<uint64_t, Iova>);
static_assert(!std::is_convertible_v<Iova, uint64_t>);

TEST(IovaTest, OrdersByValue) {
  EXPECT_LT(Iova(1), Iova(uint64_t{1} << 63));
  EXPECT_EQ(Iova(2), Iova(2));
  EXPECT_EQ(Iova().value(), 0u);
}

TEST(IovaTest, MovesByABareNumber) {
  EXPECT_EQ(Iova(0x1000) + 0x234, Iova(0x1234));
}

TEST(IovaTest, TheDifferenceIsABareNumber) {
  EXPECT_EQ(Iova(0x1234) - Iova(0x1000), uint64_t{0x234});
}

TEST(IovaTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Iova(), Iova(1), Iova(uint64_t{1} << 32)}));
}

TEST(IovaTest, PrintsInHexadecimal) {
  EXPECT_EQ(absl::StrCat(Iova(0)), "0x0");
  EXPECT_EQ(absl::StrCat(Iova(0xfee00000)), "0xfee00000");
}

}  // namespace
}  // namespace passthru::memory
