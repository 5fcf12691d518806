// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bar_index.h"

#include <cstdint>
#include <optional>
#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

static_assert(!std::is_convertible_v<int, BarIndex>);
static_assert(BarIndex::FromNumber(6) == BarIndex::Rom());
static_assert(BarIndex::FromNumber(7) == std::nullopt);

TEST(BarIndexTest, FromNumberRefusesWhatIsNoBar) {
  EXPECT_EQ(BarIndex::FromNumber(0), BarIndex(0));
  EXPECT_EQ(BarIndex::FromNumber(5), BarIndex(5));
  EXPECT_EQ(BarIndex::FromNumber(uint64_t{1} << 32), std::nullopt);
}

TEST(BarIndexTest, KnowsTheRom) {
  EXPECT_TRUE(BarIndex(6).is_rom());
  EXPECT_FALSE(BarIndex(5).is_rom());
}

TEST(BarIndexTest, PrintsItsName) {
  EXPECT_EQ(absl::StrCat(BarIndex(3)), "BAR3");
  EXPECT_EQ(absl::StrCat(BarIndex::Rom()), "ROM");
}

TEST(BarIndexTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {BarIndex(0), BarIndex(5), BarIndex::Rom()}));
}

TEST(BarIndexDeathTest, ProgramsOwnWrongNumberDies) {
  uint8_t number = 7;
  EXPECT_DEATH(BarIndex{number}, "BAR index 7");
}

}  // namespace
}  // namespace passthru::pci
