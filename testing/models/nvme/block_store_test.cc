// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/block_store.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/models/nvme/nvme_model.h"

namespace passthru::models::nvme {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr uint64_t kBlock = BlockStore::kBlockSize;

// Makes a file of zero bytes, and returns its path.
std::string NewImage(const std::string& name, uint64_t bytes) {
  std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary).put('\0');
  std::filesystem::resize_file(path, bytes);
  return path;
}

std::vector<uint8_t> Read(const BlockStore& store, uint64_t first,
                          uint64_t count) {
  std::vector<uint8_t> data(count * kBlock);
  EXPECT_TRUE(store.Read(first, absl::MakeSpan(data)));
  return data;
}

// Writes over both edges of a page, zeroes a part, and checks the rest.
void ZeroInTheMiddle(BlockStore& store) {
  const std::vector<uint8_t> data(64 * kBlock, 0x5a);
  ASSERT_TRUE(store.Write(1, data));
  ASSERT_TRUE(store.Zero(3, 50));
  EXPECT_THAT(Read(store, 0, 1), Each(0));
  EXPECT_THAT(Read(store, 1, 2), Each(0x5a));
  EXPECT_THAT(Read(store, 3, 50), Each(0));
  EXPECT_THAT(Read(store, 53, 12), Each(0x5a));
  EXPECT_THAT(Read(store, 65, 1), Each(0));
  // Within one page.
  ASSERT_TRUE(store.Zero(57, 2));
  EXPECT_THAT(Read(store, 53, 4), Each(0x5a));
  EXPECT_THAT(Read(store, 57, 2), Each(0));
  EXPECT_THAT(Read(store, 59, 6), Each(0x5a));
  EXPECT_TRUE(store.Flush());
}

TEST(BlockStoreTest, MemoryIsWrittenAndZeroed) {
  const auto store = BlockStore::InMemory(100);
  ASSERT_THAT(store, IsOk());
  ZeroInTheMiddle(**store);
}

TEST(BlockStoreTest, FileIsWrittenAndZeroed) {
  const auto store = BlockStore::InFile(NewImage("zeroed.img", 100 * kBlock));
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->blocks(), 100u);
  ZeroInTheMiddle(**store);
}

TEST(BlockStoreTest, LargeMemoryCostsNothingUntilItIsWritten) {
  const auto store = BlockStore::InMemory(uint64_t{1} << 31);  // 1 TiB.
  ASSERT_THAT(store, IsOk());
  const std::vector<uint8_t> data(kBlock, 7);
  ASSERT_TRUE((*store)->Write((uint64_t{1} << 31) - 1, data));
  EXPECT_THAT(Read(**store, (uint64_t{1} << 31) - 1, 1), Each(7));
}

TEST(BlockStoreTest, FileKeepsItsContents) {
  const std::string path = NewImage("kept.img", 10 * kBlock + 100);
  {
    const auto store = BlockStore::InFile(path);
    ASSERT_THAT(store, IsOk());
    // The last part of a block is left out.
    EXPECT_EQ((*store)->blocks(), 10u);
    ASSERT_TRUE((*store)->Write(9, std::vector<uint8_t>(kBlock, 0x77)));
  }
  EXPECT_EQ(std::filesystem::file_size(path), 10 * kBlock + 100);
  const auto store = BlockStore::InFile(path);
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(Read(**store, 9, 1), Each(0x77));
}

TEST(BlockStoreTest, FileThatCannotBeUsedIsNamed) {
  EXPECT_THAT(BlockStore::InFile("/nowhere/disk.img"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/nowhere/disk.img: No such file")));
  EXPECT_THAT(BlockStore::InFile(::testing::TempDir()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      BlockStore::InFile(NewImage("small.img", 100)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("blocks is 0")));
  const std::string path = NewImage("shared.img", 10 * kBlock);
  const auto first = BlockStore::InFile(path);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(BlockStore::InFile(path),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("another program uses it")));
}

TEST(BlockStoreTest, FileThatShrinksFailsTheReads) {
  const std::string path = NewImage("shrunk.img", 10 * kBlock);
  const auto store = BlockStore::InFile(path);
  ASSERT_THAT(store, IsOk());
  std::filesystem::resize_file(path, 5 * kBlock);
  std::vector<uint8_t> data(kBlock);
  EXPECT_TRUE((*store)->Read(4, absl::MakeSpan(data)));
  EXPECT_FALSE((*store)->Read(5, absl::MakeSpan(data)));
}

TEST(BlockStoreTest, ModelTakesItsSizeFromTheFile) {
  const auto model = NvmeModel::Create(
      {.blocks = 1, .disk_file = NewImage("model.img", 300 * kBlock)});
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ((*model)->store().blocks(), 300u);
  EXPECT_THAT(NvmeModel::Create({.blocks = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace passthru::models::nvme
