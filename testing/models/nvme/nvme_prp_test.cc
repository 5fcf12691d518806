// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_prp.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/models/flat_memory.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kBase = 0x100000;
constexpr uint64_t kPage = 0x1000;
// An address without memory.
constexpr uint64_t kNowhere = 0x40000000;

class NvmePrpTest : public ::testing::Test {
 protected:
  NvmePrpTest() : host_(kBase, 0x800000) {}

  Status Resolve(uint64_t prp1, uint64_t prp2, uint64_t length,
                 uint64_t page_size = kPage) {
    command_.set_prp1(prp1);
    command_.set_prp2(prp2);
    return ResolvePrps(host_, command_, length, page_size, segments_);
  }
  void StoreEntry(uint64_t list, unsigned index, uint64_t entry) {
    host_.Store<uint64_t>(list + 8 * index, entry);
  }

  FlatMemory host_;
  Command command_;
  std::vector<Segment> segments_;
};

TEST_F(NvmePrpTest, OnePageNeedsOneEntry) {
  ASSERT_TRUE(Resolve(kBase, /*prp2=*/1, kPage).ok());
  EXPECT_THAT(segments_, ElementsAre(Segment{kBase, kPage}));
  EXPECT_EQ(host_.dma_reads(), 0);
}

TEST_F(NvmePrpTest, OffsetSpillsIntoTheSecondPage) {
  ASSERT_TRUE(Resolve(kBase + 0xe00, kBase + 0x5000, 0x400).ok());
  EXPECT_THAT(segments_, ElementsAre(Segment{kBase + 0xe00, 0x200},
                                     Segment{kBase + 0x5000, 0x200}));
}

TEST_F(NvmePrpTest, TwoPagesNeedNoList) {
  ASSERT_TRUE(Resolve(kBase, kBase + 0x3000, 2 * kPage).ok());
  EXPECT_THAT(segments_, ElementsAre(Segment{kBase, kPage},
                                     Segment{kBase + 0x3000, kPage}));
  EXPECT_EQ(host_.dma_reads(), 0);
}

TEST_F(NvmePrpTest, ThreePagesAreListed) {
  StoreEntry(kBase + 0x8000, 0, kBase + 0x2000);
  StoreEntry(kBase + 0x8000, 1, kBase + 0x1000);
  ASSERT_TRUE(Resolve(kBase, kBase + 0x8000, 2 * kPage + 512).ok());
  EXPECT_THAT(segments_,
              ElementsAre(Segment{kBase, kPage}, Segment{kBase + 0x2000, kPage},
                          Segment{kBase + 0x1000, 512}));
}

TEST_F(NvmePrpTest, ListMayBeginInsideItsPage) {
  StoreEntry(kBase + 0x8ff0, 0, kBase + 0x2000);
  StoreEntry(kBase + 0x8ff0, 1, kBase + 0x3000);
  ASSERT_TRUE(Resolve(kBase, kBase + 0x8ff0, 3 * kPage).ok());
  EXPECT_THAT(segments_,
              ElementsAre(Segment{kBase, kPage}, Segment{kBase + 0x2000, kPage},
                          Segment{kBase + 0x3000, kPage}));
}

TEST_F(NvmePrpTest, LastEntryOfAFullPageLeadsOn) {
  StoreEntry(kBase + 0x8ff0, 0, kBase + 0x2000);
  StoreEntry(kBase + 0x8ff0, 1, kBase + 0x9000);  // The next list.
  StoreEntry(kBase + 0x9000, 0, kBase + 0x3000);
  StoreEntry(kBase + 0x9000, 1, kBase + 0x4000);
  ASSERT_TRUE(Resolve(kBase, kBase + 0x8ff0, 4 * kPage).ok());
  EXPECT_THAT(segments_,
              ElementsAre(Segment{kBase, kPage}, Segment{kBase + 0x2000, kPage},
                          Segment{kBase + 0x3000, kPage},
                          Segment{kBase + 0x4000, kPage}));
}

TEST_F(NvmePrpTest, ListInTheLastSlotIsOnlyAChainPointer) {
  StoreEntry(kBase + 0x8ff8, 0, kBase + 0x9000);
  StoreEntry(kBase + 0x9000, 0, kBase + 0x3000);
  StoreEntry(kBase + 0x9000, 1, kBase + 0x4000);
  ASSERT_TRUE(Resolve(kBase, kBase + 0x8ff8, 3 * kPage).ok());
  EXPECT_THAT(segments_,
              ElementsAre(Segment{kBase, kPage}, Segment{kBase + 0x3000, kPage},
                          Segment{kBase + 0x4000, kPage}));
}

TEST_F(NvmePrpTest, ChainThatNamesItselfEnds) {
  // Every entry of the list, including the chain pointer, is the list's own
  // page.
  for (unsigned i = 0; i < 512; ++i) {
    StoreEntry(kBase + 0x8000, i, kBase + 0x8000);
  }
  ASSERT_TRUE(Resolve(kBase, kBase + 0x8000, 1024 * kPage).ok());
  EXPECT_EQ(segments_.size(), 1024u);
  EXPECT_LE(host_.dma_reads(), 4);
}

TEST_F(NvmePrpTest, ChainBackIntoTheLastSlotIsRefused) {
  StoreEntry(kBase + 0x8ff8, 0, kBase + 0x8ff8);
  EXPECT_EQ(Resolve(kBase, kBase + 0x8ff8, 3 * kPage), kPrpOffsetInvalid.Dnr());
}

TEST_F(NvmePrpTest, UnalignedEntriesAreRefused) {
  EXPECT_EQ(Resolve(kBase + 2, 0, 512), kPrpOffsetInvalid.Dnr());
  EXPECT_EQ(Resolve(kBase, kBase + 0x1004, 2 * kPage), kPrpOffsetInvalid.Dnr());
  EXPECT_EQ(Resolve(kBase, kBase + 0x8004, 3 * kPage), kPrpOffsetInvalid.Dnr());
  StoreEntry(kBase + 0x8000, 0, kBase + 0x2200);
  EXPECT_EQ(Resolve(kBase, kBase + 0x8000, 3 * kPage), kPrpOffsetInvalid.Dnr());
  StoreEntry(kBase + 0x8000, 0, 0);
  EXPECT_EQ(Resolve(kBase, kBase + 0x8000, 3 * kPage), kPrpOffsetInvalid.Dnr());
}

TEST_F(NvmePrpTest, ListOutsideOfMemoryIsATransferError) {
  EXPECT_EQ(Resolve(kBase, kNowhere, 3 * kPage), kDataTransferError);
}

TEST_F(NvmePrpTest, LargerPagesMoveTheBoundaries) {
  constexpr uint64_t kLarge = 0x10000;
  ASSERT_TRUE(Resolve(kBase + 0x8000, kBase + kLarge, kLarge, kLarge).ok());
  EXPECT_THAT(segments_, ElementsAre(Segment{kBase + 0x8000, 0x8000},
                                     Segment{kBase + kLarge, 0x8000}));
}

TEST_F(NvmePrpTest, DataGoesThereAndBack) {
  std::mt19937 random(1);
  std::vector<uint8_t> data(3 * kPage);
  std::ranges::generate(data, [&] { return static_cast<uint8_t>(random()); });
  StoreEntry(kBase + 0x8000, 0, kBase + 0x5000);
  StoreEntry(kBase + 0x8000, 1, kBase + 0x2000);
  StoreEntry(kBase + 0x8000, 2, kBase + 0x7000);
  command_.set_prp1(kBase + 0x1800);
  command_.set_prp2(kBase + 0x8000);
  ASSERT_TRUE(WriteToHost(host_, command_, kPage, data).ok());
  EXPECT_TRUE(std::equal(data.begin(), data.begin() + 0x800,
                         host_.Bytes(kBase + 0x1800, 0x800).begin()));
  EXPECT_TRUE(std::equal(data.begin() + 0x2800, data.end(),
                         host_.Bytes(kBase + 0x7000, 0x800).begin()));
  std::vector<uint8_t> back(data.size());
  ASSERT_TRUE(ReadFromHost(host_, command_, kPage, absl::MakeSpan(back)).ok());
  EXPECT_EQ(back, data);
}

TEST_F(NvmePrpTest, RefusedDataIsATransferError) {
  std::vector<uint8_t> data(512);
  command_.set_prp1(kNowhere);
  EXPECT_EQ(WriteToHost(host_, command_, kPage, data), kDataTransferError);
  EXPECT_EQ(ReadFromHost(host_, command_, kPage, absl::MakeSpan(data)),
            kDataTransferError);
  host_.SetReadOnly(kBase, kPage);
  command_.set_prp1(kBase);
  EXPECT_EQ(WriteToHost(host_, command_, kPage, data), kDataTransferError);
  EXPECT_TRUE(ReadFromHost(host_, command_, kPage, absl::MakeSpan(data)).ok());
}

// The walk of any list, however wrong, takes bounded time and memory, and the
// segments add up to the requested length.
TEST_F(NvmePrpTest, AnyListEnds) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 200; ++round) {
    for (unsigned i = 0; i < 1024; ++i) {
      StoreEntry(kBase, i, kBase + (random() % 4) * kPage);
    }
    const uint64_t length = 1 + random() % (512 * 1024);
    const int reads_before = host_.dma_reads();
    const Status status = Resolve(kBase + (random() % 0x800) * 4,
                                  kBase + (random() % 0x400) * 8, length);
    EXPECT_LE(host_.dma_reads() - reads_before,
              static_cast<int>(length / kPage) + 2);
    if (!status.ok()) continue;
    uint64_t total = 0;
    for (const Segment& segment : segments_) total += segment.length;
    EXPECT_EQ(total, length);
  }
}

}  // namespace
}  // namespace passthru::models::nvme
