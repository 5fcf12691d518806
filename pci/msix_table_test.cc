// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Bytes = std::vector<uint8_t>;

Bytes LittleEndian(uint64_t value, size_t width) {
  Bytes bytes(width);
  for (size_t i = 0; i < width; ++i) {
    bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  return bytes;
}

uint64_t Read(const MsixTable& table, uint32_t offset, size_t width) {
  Bytes bytes(width);
  table.Read(offset, absl::MakeSpan(bytes));
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value |= uint64_t{bytes[i]} << (8 * i);
  return value;
}

MsixVectorChange Message(uint16_t vector) {
  return {.vector = VectorIndex(vector), .message = true};
}
MsixVectorChange Mask(uint16_t vector) {
  return {.vector = VectorIndex(vector), .mask = true};
}

// PCI 3.0 6.8.2.9. The mask bit is 1 after reset.
TEST(MsixTableTest, EveryVectorIsMaskedAfterReset) {
  const MsixTable table(2048);
  EXPECT_EQ(table.size(), 2048);
  for (uint16_t i = 0; i < table.size(); ++i) {
    ASSERT_TRUE(table.masked(VectorIndex(i)));
    ASSERT_EQ(table.message(VectorIndex(i)), MsiMessage());
    ASSERT_EQ(Read(table, i * 16u + 12, 4), 1u);
  }
}

// Linux programs a vector in this way, with three double words and then the
// unmasking.
TEST(MsixTableTest, ProgrammingByDoubleWords) {
  MsixTable table(4);
  EXPECT_THAT(table.Write(32, LittleEndian(0xfee01000, 4)),
              ElementsAre(Message(2)));
  EXPECT_THAT(table.Write(36, LittleEndian(0x00000100, 4)),
              ElementsAre(Message(2)));
  EXPECT_THAT(table.Write(40, LittleEndian(0x00004041, 4)),
              ElementsAre(Message(2)));
  EXPECT_EQ(table.message(VectorIndex(2)),
            (MsiMessage{.address = 0x100fee01000, .data = 0x4041}));
  EXPECT_TRUE(table.masked(VectorIndex(2)));
  EXPECT_THAT(table.Write(44, LittleEndian(0, 4)), ElementsAre(Mask(2)));
  EXPECT_FALSE(table.masked(VectorIndex(2)));
  EXPECT_TRUE(table.masked(VectorIndex(1)));
  EXPECT_TRUE(table.masked(VectorIndex(3)));
}

TEST(MsixTableTest, ProgrammingByQuadwords) {
  MsixTable table(2);
  EXPECT_THAT(table.Write(16, LittleEndian(0xfee01000, 8)),
              ElementsAre(Message(1)));
  // One write changes Data and Vector Control.
  EXPECT_THAT(table.Write(24, LittleEndian(0x0000000000004041, 8)),
              ElementsAre(MsixVectorChange{
                  .vector = VectorIndex(1), .message = true, .mask = true}));
  EXPECT_EQ(table.message(VectorIndex(1)),
            (MsiMessage{.address = 0xfee01000, .data = 0x4041}));
  EXPECT_FALSE(table.masked(VectorIndex(1)));
  EXPECT_EQ(Read(table, 24, 8), 0x4041u);
}

TEST(MsixTableTest, MaskBitByOneByte) {
  MsixTable table(1);
  EXPECT_THAT(table.Write(12, Bytes{0}), ElementsAre(Mask(0)));
  EXPECT_FALSE(table.masked(VectorIndex(0)));
  EXPECT_THAT(table.Write(12, Bytes{1}), ElementsAre(Mask(0)));
  EXPECT_TRUE(table.masked(VectorIndex(0)));
}

TEST(MsixTableTest, WriteAcrossTwoEntriesChangesBoth) {
  MsixTable table(2);
  // The write changes the mask bit of vector 0 and the low half of vector 1's
  // address.
  EXPECT_THAT(table.Write(12, LittleEndian(0xfee0100000000000, 8)),
              ElementsAre(Mask(0), Message(1)));
  EXPECT_FALSE(table.masked(VectorIndex(0)));
  EXPECT_EQ(table.message(VectorIndex(1)).address, 0xfee01000u);
}

TEST(MsixTableTest, SameValueIsNoChange) {
  MsixTable table(2);
  table.Write(0, LittleEndian(0xfee01000, 8));
  EXPECT_THAT(table.Write(0, LittleEndian(0xfee01000, 8)), IsEmpty());
  EXPECT_THAT(table.Write(12, LittleEndian(1, 4)), IsEmpty());
}

// PCI 3.0 6.8.2.6 and 6.8.2.9.
TEST(MsixTableTest, ReservedBitsStayZero) {
  MsixTable table(1);
  table.Write(0, Bytes(16, 0xff));
  EXPECT_EQ(Read(table, 0, 8), 0xfffffffffffffffcu);
  EXPECT_EQ(Read(table, 8, 8), 0x00000001ffffffffu);
  EXPECT_THAT(table.Write(13, Bytes{0xff, 0xff, 0xff}), IsEmpty());
  EXPECT_THAT(table.Write(0, Bytes{0xff}), IsEmpty());
}

TEST(MsixTableTest, AccessAcrossTheEndStopsThere) {
  MsixTable table(1);
  EXPECT_EQ(Read(table, 12, 8), 0xffffffff00000001u);
  EXPECT_THAT(table.Write(12, Bytes(8, 0)), ElementsAre(Mask(0)));
  EXPECT_EQ(Read(table, 12, 8), 0xffffffff00000000u);
}

TEST(MsixTableTest, AccessBeyondTheEnd) {
  MsixTable table(1);
  EXPECT_EQ(Read(table, 16, 4), 0xffffffffu);
  EXPECT_EQ(Read(table, 0xffffffff, 8), ~uint64_t{0});
  EXPECT_THAT(table.Write(16, Bytes(8, 0)), IsEmpty());
  EXPECT_THAT(table.Write(0xffffffff, Bytes(8, 0)), IsEmpty());
  EXPECT_TRUE(table.masked(VectorIndex(0)));
}

TEST(MsixTableTest, ResetMasksAndClears) {
  MsixTable table(2);
  table.Write(0, Bytes(32, 0x54));
  ASSERT_FALSE(table.masked(VectorIndex(1)));
  table.Reset();
  for (const uint16_t i : {0, 1}) {
    EXPECT_TRUE(table.masked(VectorIndex(i)));
    EXPECT_EQ(table.message(VectorIndex(i)), MsiMessage());
  }
}

// Writes have any width and alignment. The table and the reported changes do
// not depend on the number of pieces in which a write arrives, and the reported
// changes are the ones that happened.
TEST(MsixTablePropertyTest, AnySplitOfAWriteEqualsTheWhole) {
  constexpr uint16_t kVectors = 4;
  std::mt19937 random(20240612);
  for (int round = 0; round < 5000; ++round) {
    MsixTable whole(kVectors);
    Bytes initial(size_t{kVectors} * 16);
    for (uint8_t& byte : initial) byte = static_cast<uint8_t>(random());
    whole.Write(0, initial);
    MsixTable split = whole;
    const MsixTable before = whole;

    const auto start = static_cast<uint32_t>(random() % (kVectors * 16 + 2));
    Bytes data(random() % 8 + 1);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    const MsixTableChange changes = whole.Write(start, data);

    std::map<VectorIndex, MsixVectorChange> merged;
    for (size_t done = 0; done < data.size();) {
      const size_t piece =
          std::min<size_t>(random() % 3 + 1, data.size() - done);
      for (const MsixVectorChange& change :
           split.Write(start + static_cast<uint32_t>(done),
                       absl::MakeSpan(data).subspan(done, piece))) {
        MsixVectorChange& into = merged[change.vector];
        into.vector = change.vector;
        into.message |= change.message;
        into.mask |= change.mask;
      }
      done += piece;
    }

    std::vector<MsixVectorChange> expected;
    expected.reserve(merged.size());
    for (const auto& [vector, change] : merged) expected.push_back(change);
    ASSERT_THAT(changes, ::testing::ElementsAreArray(expected)) << round;
    for (uint16_t i = 0; i < kVectors; ++i) {
      const VectorIndex vector(i);
      ASSERT_EQ(whole.message(vector), split.message(vector)) << round;
      ASSERT_EQ(whole.masked(vector), split.masked(vector)) << round;
      const auto change = merged.find(vector);
      ASSERT_EQ(whole.message(vector) != before.message(vector),
                change != merged.end() && change->second.message)
          << round;
      ASSERT_EQ(whole.masked(vector) != before.masked(vector),
                change != merged.end() && change->second.mask)
          << round;
    }
  }
}

TEST(MsixTablePropertyTest, AnySplitOfAReadEqualsTheWhole) {
  std::mt19937 random(20240613);
  MsixTable table(2);
  Bytes bytes(32);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  table.Write(0, bytes);
  for (uint32_t offset = 0; offset < 40; ++offset) {
    const uint64_t whole = Read(table, offset, 8);
    for (size_t first = 1; first < 8; ++first) {
      const auto second = offset + static_cast<uint32_t>(first);
      EXPECT_EQ(whole, Read(table, offset, first) |
                           Read(table, second, 8 - first) << (8 * first));
    }
  }
}

TEST(MsixTableDeathTest, ProgramsOwnWrongNumbersDie) {
  EXPECT_DEATH(MsixTable(0), "vectors");
  EXPECT_DEATH(MsixTable(2049), "2049");
  const MsixTable table(2);
  EXPECT_DEATH(table.masked(VectorIndex(2)), "2 vs. 2");
}

}  // namespace
}  // namespace passthru::pci
