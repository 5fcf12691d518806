// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/memory_slot.h"

#include <cstdint>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::allocator {
namespace {

static_assert(!std::is_convertible_v<uint32_t, MemorySlot>);
static_assert(!std::is_convertible_v<MemorySlot, uint32_t>);

TEST(MemorySlotTest, OrdersByValue) {
  EXPECT_LT(MemorySlot(1), MemorySlot(2));
  EXPECT_EQ(MemorySlot(2), MemorySlot(2));
  EXPECT_EQ(MemorySlot().value(), 0u);
}

TEST(MemorySlotTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {MemorySlot(), MemorySlot(1), MemorySlot(0xffffffff)}));
}

TEST(MemorySlotTest, PrintsItsNumber) {
  EXPECT_EQ(absl::StrCat(MemorySlot(4095)), "4095");
}

}  // namespace
}  // namespace passthru::allocator
