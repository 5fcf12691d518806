// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/user_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace passthru::journal {
namespace {

constexpr size_t kPage = 4096;

class UserMemoryTest : public ::testing::Test {
 protected:
  // Maps a page with the given protection, followed by an inaccessible one.
  void* MapBeforeHole(int protection) {
    void* const area = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(area, MAP_FAILED);
    EXPECT_EQ(::mprotect(static_cast<char*>(area) + kPage, kPage, PROT_NONE),
              0);
    EXPECT_EQ(::mprotect(area, kPage, protection), 0);
    area_ = area;
    return area;
  }

  ~UserMemoryTest() override {
    if (area_ != nullptr) ::munmap(area_, 2 * kPage);
  }

 private:
  void* area_ = nullptr;
};

TEST_F(UserMemoryTest, CopiesBothWays) {
  uint64_t there = 0x1122334455667788;
  EXPECT_EQ(CopyFromUser<uint64_t>(&there), 0x1122334455667788);
  EXPECT_TRUE(CopyToUser(&there, uint64_t{42}));
  EXPECT_EQ(there, 42u);
}

// The first is in a caller's frame, and the second is not.
TEST_F(UserMemoryTest, StackAndHeapAreAlike) {
  std::array<uint8_t, 3 * kPage> on_stack = {};
  std::vector<uint8_t> on_heap(on_stack.size());
  for (const size_t size : {1u, 7u, 8u, 255u, 256u, 257u, 5000u}) {
    const std::vector<uint8_t> data(size, 0xa5);
    for (uint8_t* const user : {on_stack.data(), on_heap.data()}) {
      ASSERT_TRUE(CopyToUser(user + 1, data.data(), size)) << size;
      EXPECT_EQ(user[0], 0) << size;
      EXPECT_EQ(user[1 + size], 0) << size;
      std::vector<uint8_t> back(size);
      ASSERT_TRUE(CopyFromUser(back.data(), user + 1, size)) << size;
      EXPECT_EQ(back, data);
      std::fill_n(user, size + 2, uint8_t{0});
    }
  }
}

TEST_F(UserMemoryTest, NullIsAFault) {
  EXPECT_EQ(CopyFromUser<uint32_t>(nullptr), std::nullopt);
  EXPECT_FALSE(CopyToUser(nullptr, uint32_t{1}));
}

TEST_F(UserMemoryTest, KernelAddressIsAFault) {
  EXPECT_EQ(CopyFromUser<uint32_t>(UserPointer(0xffff800000000000)),
            std::nullopt);
}

TEST_F(UserMemoryTest, StructThatEndsInAHoleIsAFault) {
  char* const area = static_cast<char*>(MapBeforeHole(PROT_READ | PROT_WRITE));
  EXPECT_NE(CopyFromUser<uint64_t>(area + kPage - 8), std::nullopt);
  EXPECT_EQ(CopyFromUser<uint64_t>(area + kPage - 4), std::nullopt);
  EXPECT_FALSE(CopyToUser(area + kPage - 4, uint64_t{0}));
}

TEST_F(UserMemoryTest, ReadOnlyMemoryRefusesWrites) {
  void* const area = MapBeforeHole(PROT_READ);
  EXPECT_NE(CopyFromUser<uint32_t>(area), std::nullopt);
  EXPECT_FALSE(CopyToUser(area, uint32_t{1}));
}

TEST_F(UserMemoryTest, InaccessibleMemoryRefusesBoth) {
  void* const area = MapBeforeHole(PROT_NONE);
  EXPECT_EQ(CopyFromUser<uint32_t>(area), std::nullopt);
  EXPECT_FALSE(CopyToUser(area, uint32_t{1}));
}

TEST_F(UserMemoryTest, MappingBeyondTheEndOfItsFileIsAFaultNotASignal) {
  const int file = ::memfd_create("empty", MFD_CLOEXEC);
  ASSERT_GE(file, 0);
  void* const area =
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ASSERT_NE(area, MAP_FAILED);
  EXPECT_EQ(CopyFromUser<uint32_t>(area), std::nullopt);
  EXPECT_FALSE(CopyToUser(area, uint32_t{1}));
  ::munmap(area, kPage);
  ::close(file);
}

TEST_F(UserMemoryTest, NothingIsNeverAFault) {
  EXPECT_TRUE(CopyFromUser(nullptr, nullptr, 0));
}

}  // namespace
}  // namespace passthru::journal
