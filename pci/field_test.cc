// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/field.h"

#include <cstdint>
#include <type_traits>

#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

struct Sample {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<Sample, 15> kTop{};
  static constexpr Field<Sample, 9, 4> kMiddle{};
  static constexpr Field<Sample, 0> kBottom{};
};

struct Wide {
  using Raw = uint64_t;
  Raw raw = 0;
  static constexpr Field<Wide, 63, 0> kAll{};
  static constexpr Field<Wide, 63, 20> kUpper{};
};

static_assert(std::is_same_v<decltype(Sample::kTop)::Value, bool>);
static_assert(std::is_same_v<decltype(Sample::kMiddle)::Value, uint32_t>);
static_assert(std::is_same_v<decltype(Wide::kUpper)::Value, uint64_t>);
static_assert(Sample::kMiddle.Mask() == 0x03f0);
static_assert(Sample::kMiddle.Get(Sample{.raw = 0xfd5f}) == 0x15);

TEST(FieldTest, GetTakesOnlyItsOwnBits) {
  EXPECT_TRUE(Sample::kTop.Get(Sample{.raw = 0x8000}));
  EXPECT_FALSE(Sample::kTop.Get(Sample{.raw = 0x7fff}));
  EXPECT_EQ(Sample::kMiddle.Get(Sample{.raw = 0xfc0f}), 0u);
  EXPECT_EQ(Sample::kMiddle.Get(Sample{.raw = 0x03f0}), 0x3fu);
}

TEST(FieldTest, SetLeavesOtherBitsAlone) {
  Sample sample{.raw = 0xffff};
  Sample::kMiddle.Set(sample, 0x15);
  EXPECT_EQ(sample.raw, 0xfd5f);
  Sample::kTop.Set(sample, false);
  EXPECT_EQ(sample.raw, 0x7d5f);
  Sample::kBottom.Set(sample, false);
  EXPECT_EQ(sample.raw, 0x7d5e);
}

TEST(FieldTest, SetDropsBitsThatDoNotFit) {
  Sample sample;
  Sample::kMiddle.Set(sample, 0xffffffff);
  EXPECT_EQ(sample.raw, 0x03f0);
}

TEST(FieldTest, WithLeavesTheOriginalAlone) {
  const Sample sample{.raw = 0x0001};
  EXPECT_EQ(Sample::kTop.With(sample, true).raw, 0x8001);
  EXPECT_EQ(sample.raw, 0x0001);
}

TEST(FieldTest, SixtyFourBitsWide) {
  Wide wide;
  Wide::kAll.Set(wide, 0x0123456789abcdef);
  EXPECT_EQ(wide.raw, 0x0123456789abcdefu);
  EXPECT_EQ(Wide::kUpper.Get(wide), 0x0123456789au);
}

}  // namespace
}  // namespace passthru::pci
