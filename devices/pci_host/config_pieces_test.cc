// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/config_pieces.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::pci_host {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Piece {
  uint64_t offset = 0;
  size_t position = 0;
  unsigned width = 0;
  friend bool operator==(const Piece&, const Piece&) = default;
};

std::vector<Piece> Cut(uint64_t offset, size_t length) {
  std::vector<Piece> pieces;
  ForEachConfigPiece(offset, length,
                     [&](uint64_t at, size_t position, unsigned width) {
                       pieces.push_back({at, position, width});
                     });
  return pieces;
}

TEST(ConfigPiecesTest, NothingIsNoPiece) { EXPECT_THAT(Cut(0, 0), IsEmpty()); }

TEST(ConfigPiecesTest, AlignedAccessesStayWhole) {
  EXPECT_THAT(Cut(0x10, 4), ElementsAre(Piece{0x10, 0, 4}));
  EXPECT_THAT(Cut(0x12, 2), ElementsAre(Piece{0x12, 0, 2}));
  EXPECT_THAT(Cut(0x13, 1), ElementsAre(Piece{0x13, 0, 1}));
}

TEST(ConfigPiecesTest, EightBytesAreTwoDwords) {
  EXPECT_THAT(Cut(0x10, 8), ElementsAre(Piece{0x10, 0, 4}, Piece{0x14, 4, 4}));
}

TEST(ConfigPiecesTest, UnalignedAccessesAreCut) {
  EXPECT_THAT(Cut(0x11, 4), ElementsAre(Piece{0x11, 0, 1}, Piece{0x12, 1, 2},
                                        Piece{0x14, 3, 1}));
  EXPECT_THAT(Cut(0x11, 2), ElementsAre(Piece{0x11, 0, 1}, Piece{0x12, 1, 1}));
  EXPECT_THAT(Cut(0x12, 4), ElementsAre(Piece{0x12, 0, 2}, Piece{0x14, 2, 2}));
  EXPECT_THAT(Cut(0x10, 3), ElementsAre(Piece{0x10, 0, 2}, Piece{0x12, 2, 1}));
}

TEST(ConfigPiecesTest, PiecesCoverTheAccessOnceAndAreAligned) {
  for (uint64_t offset = 0; offset < 16; ++offset) {
    for (size_t length = 0; length <= 20; ++length) {
      size_t expected_position = 0;
      for (const Piece& piece : Cut(offset, length)) {
        EXPECT_EQ(piece.position, expected_position);
        EXPECT_EQ(piece.offset, offset + expected_position);
        EXPECT_EQ(piece.offset % piece.width, 0u);
        EXPECT_THAT(piece.width, testing::AnyOf(1u, 2u, 4u));
        expected_position += piece.width;
      }
      EXPECT_EQ(expected_position, length);
    }
  }
}

}  // namespace
}  // namespace passthru::pci_host
