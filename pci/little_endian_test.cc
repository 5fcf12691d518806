// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/little_endian.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

using ::testing::ElementsAre;

TEST(LittleEndianTest, LoadsLowByteFirst) {
  const std::array<uint8_t, 9> bytes = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(LoadLittleEndian<uint8_t>(bytes, 1), 0x01);
  EXPECT_EQ(LoadLittleEndian<uint16_t>(bytes, 1), 0x0201);
  EXPECT_EQ(LoadLittleEndian<uint32_t>(bytes, 1), 0x04030201u);
  EXPECT_EQ(LoadLittleEndian<uint64_t>(bytes, 1), 0x0807060504030201u);
}

TEST(LittleEndianTest, LoadsAllOnesOutside) {
  const std::array<uint8_t, 2> bytes = {0x12, 0x34};
  EXPECT_EQ(LoadLittleEndian<uint32_t>(bytes, 1), 0xffffff34u);
  EXPECT_EQ(LoadLittleEndian<uint16_t>(bytes, 2), 0xffff);
  EXPECT_EQ(LoadLittleEndian<uint16_t>(bytes, ~size_t{0}), 0xffff);
}

TEST(LittleEndianTest, StoresLowByteFirst) {
  std::array<uint8_t, 6> bytes{};
  StoreLittleEndian(absl::MakeSpan(bytes), 1, uint32_t{0x04030201});
  EXPECT_THAT(bytes, ElementsAre(0, 1, 2, 3, 4, 0));
}

TEST(LittleEndianTest, StoresNothingOutside) {
  std::array<uint8_t, 2> bytes{};
  StoreLittleEndian(absl::MakeSpan(bytes), 1, uint32_t{0x04030201});
  EXPECT_THAT(bytes, ElementsAre(0, 1));
  StoreLittleEndian(absl::MakeSpan(bytes), ~size_t{0}, uint32_t{0x04030201});
  EXPECT_THAT(bytes, ElementsAre(0, 1));
}

}  // namespace
}  // namespace passthru::pci
