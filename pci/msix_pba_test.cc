// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_pba.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Reads `width` bytes while the vectors in `pending` are pending.
std::vector<uint8_t> Read(const MsixPba& pba, uint32_t offset, size_t width,
                          const std::set<unsigned>& pending) {
  std::vector<uint8_t> out(width, 0xa5);
  pba.Read(offset, absl::MakeSpan(out), [&](VectorIndex first) {
    unsigned bits = 0;
    for (unsigned i = 0; i < 8; ++i) {
      bits |= unsigned{pending.count(first.value() + i) != 0} << i;
    }
    return static_cast<uint8_t>(bits);
  });
  return out;
}

// PCI 3.0 figure 6-13.
TEST(MsixPbaTest, VectorNIsBitN) {
  const MsixPba pba(128);
  EXPECT_EQ(pba.size_bytes(), 16u);
  EXPECT_THAT(Read(pba, 0, 8, {0, 9, 63, 64}),
              ElementsAre(0x01, 0x02, 0, 0, 0, 0, 0, 0x80));
  EXPECT_THAT(Read(pba, 8, 8, {0, 9, 63, 64}),
              ElementsAre(0x01, 0, 0, 0, 0, 0, 0, 0));
}

TEST(MsixPbaTest, AnyWidthAndAlignment) {
  const MsixPba pba(128);
  EXPECT_THAT(Read(pba, 1, 1, {9}), ElementsAre(0x02));
  EXPECT_THAT(Read(pba, 7, 2, {63, 64}), ElementsAre(0x80, 0x01));
  EXPECT_THAT(Read(pba, 1, 3, {8, 23, 24}), ElementsAre(0x01, 0x80, 0x01));
}

TEST(MsixPbaTest, UnusedBitsAreZero) {
  const MsixPba pba(65);
  EXPECT_EQ(pba.size_bytes(), 16u);
  std::set<unsigned> all;
  for (unsigned i = 0; i < 2048; ++i) all.insert(i);
  EXPECT_THAT(Read(pba, 0, 8, all), Each(0xff));
  EXPECT_THAT(Read(pba, 8, 8, all), ElementsAre(0x01, 0, 0, 0, 0, 0, 0, 0));
}

TEST(MsixPbaTest, ReadBeyondTheEndIsAllOnes) {
  const MsixPba pba(1);
  EXPECT_EQ(pba.size_bytes(), 8u);
  EXPECT_THAT(Read(pba, 6, 4, {}), ElementsAre(0, 0, 0xff, 0xff));
  EXPECT_THAT(Read(pba, 0xffffffff, 2, {}), Each(0xff));
}

TEST(MsixPbaTest, AsksOnceForEachByteThatHasVectorsAndForNoOther) {
  const MsixPba pba(70);
  std::vector<unsigned> asked;
  std::vector<uint8_t> out(12);
  pba.Read(6, absl::MakeSpan(out), [&](VectorIndex first) {
    asked.push_back(first.value());
    return uint8_t{0};
  });
  EXPECT_THAT(asked, ElementsAre(48, 56, 64));
}

TEST(MsixPbaDeathTest, ProgramsOwnWrongNumbersDie) {
  EXPECT_DEATH(MsixPba(0), "vectors");
  EXPECT_DEATH(MsixPba(2049), "2049");
}

}  // namespace
}  // namespace passthru::pci
