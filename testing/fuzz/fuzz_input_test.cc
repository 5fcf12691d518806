// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/fuzz/fuzz_input.h"

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::fuzz {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FuzzInputTest, IntegersAreLittleEndianAndPaddedWithZeros) {
  constexpr uint8_t kBytes[] = {1, 2, 3, 4, 5};
  FuzzInput input(kBytes, sizeof(kBytes));
  EXPECT_EQ(input.Take<uint16_t>(), 0x0201);
  EXPECT_EQ(input.Take<uint32_t>(), 0x00050403u);
  EXPECT_TRUE(input.empty());
  EXPECT_EQ(input.Take<uint64_t>(), 0u);
}

TEST(FuzzInputTest, AByteChoosesOneOfAFew) {
  constexpr std::array kChoices = {'a', 'b', 'c'};
  constexpr uint8_t kBytes[] = {1, 5};
  FuzzInput input(kBytes, sizeof(kBytes));
  EXPECT_EQ(input.Pick(kChoices), 'b');
  EXPECT_EQ(input.Pick(kChoices), 'c');
  EXPECT_EQ(input.Pick(kChoices), 'a');
}

TEST(FuzzInputTest, BytesEndWithTheInput) {
  constexpr uint8_t kBytes[] = {1, 2, 3};
  FuzzInput input(kBytes, sizeof(kBytes));
  EXPECT_THAT(input.TakeBytes(2), ElementsAre(1, 2));
  EXPECT_THAT(input.TakeBytes(2), ElementsAre(3));
  EXPECT_THAT(input.TakeRest(), IsEmpty());
}

}  // namespace
}  // namespace passthru::fuzz
