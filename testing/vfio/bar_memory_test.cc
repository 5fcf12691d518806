// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/bar_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::fake {
namespace {

using absl_testing::IsOk;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr uint64_t kPageSize = 4096;
// A size that is not one of whole pages, and a hole between the bytes in use.
constexpr uint64_t kSize = (uint64_t{8} << 30) + 2;

class BarMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto memory = BarMemory::Create(kSize, "BAR");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
    memory_->Write(1, {1, 2, 3});
    memory_->Write(kSize - 2, {4, 5});
    mapped_ = Map(0);
    ASSERT_NE(mapped_, nullptr);
  }
  void TearDown() override { munmap(mapped_, kPageSize); }

  uint8_t* Map(uint64_t offset) {
    return static_cast<uint8_t*>(memory_
                                     ->Map(nullptr, kPageSize,
                                           PROT_READ | PROT_WRITE, MAP_SHARED,
                                           offset, /*alive=*/true)
                                     .value);
  }

  std::vector<uint8_t> Read(uint64_t offset, size_t size) {
    std::vector<uint8_t> data(size, 0x77);
    memory_->Read(offset, absl::MakeSpan(data));
    return data;
  }

  // Returns whether a load works, without risking a SIGBUS.
  static bool IsReadable(const uint8_t* address) {
    uint8_t value = 0;
    return journal::CopyFromUser(&value, address, sizeof(value));
  }

  std::unique_ptr<BarMemory> memory_;
  uint8_t* mapped_ = nullptr;
};

TEST_F(BarMemoryTest, NoMappingReachesAnUnreachableOne) {
  uint8_t* const last = Map(kSize - 2);
  ASSERT_NE(last, nullptr);
  EXPECT_THAT(memory_->SetReachable(false), IsOk());
  EXPECT_FALSE(IsReadable(mapped_));
  EXPECT_FALSE(IsReadable(last));
  uint8_t* const late = Map(0);
  ASSERT_NE(late, nullptr);
  EXPECT_FALSE(IsReadable(late));

  EXPECT_THAT(memory_->SetReachable(true), IsOk());
  for (const uint8_t* mapping : {mapped_, late}) {
    ASSERT_TRUE(IsReadable(mapping));
    EXPECT_THAT(absl::MakeSpan(mapping, 5), ElementsAre(0, 1, 2, 3, 0));
  }
  ASSERT_TRUE(IsReadable(last));
  EXPECT_THAT(absl::MakeSpan(last, 3), ElementsAre(4, 5, 0));
  munmap(last, kPageSize);
  munmap(late, kPageSize);
}

TEST_F(BarMemoryTest, DeviceReachesItAllTheTime) {
  EXPECT_THAT(memory_->SetReachable(false), IsOk());
  EXPECT_THAT(Read(0, 5), ElementsAre(0, 1, 2, 3, 0));
  EXPECT_THAT(Read(kSize - 3, 5), ElementsAre(0, 4, 5, 0xff, 0xff));
  memory_->Write(2, {0x22});
  EXPECT_FALSE(IsReadable(mapped_));
  EXPECT_THAT(memory_->SetReachable(true), IsOk());
  EXPECT_THAT(absl::MakeSpan(mapped_, 5), ElementsAre(0, 1, 0x22, 3, 0));
}

TEST_F(BarMemoryTest, ClearIsNotUndone) {
  EXPECT_THAT(memory_->SetReachable(false), IsOk());
  memory_->Clear();
  EXPECT_THAT(memory_->SetReachable(true), IsOk());
  EXPECT_THAT(absl::MakeSpan(mapped_, kPageSize), Each(0));
  // What an earlier time has left in the copy does not come back.
  mapped_[0] = 9;
  EXPECT_THAT(memory_->SetReachable(false), IsOk());
  EXPECT_THAT(memory_->SetReachable(true), IsOk());
  EXPECT_THAT(absl::MakeSpan(mapped_, 5), ElementsAre(9, 0, 0, 0, 0));
  EXPECT_THAT(Read(kSize - 2, 2), Each(0));
}

}  // namespace
}  // namespace passthru::fake
