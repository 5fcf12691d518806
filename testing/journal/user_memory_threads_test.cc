// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "gtest/gtest.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::journal {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStackSize = 256 * kPage;

// Looks from its own stack, at whose end is a hole, at the end of the stack.
void* LookBeyond(void* end) {
  uint64_t own = 7;
  EXPECT_EQ(CopyFromUser<uint64_t>(&own), 7u);
  EXPECT_TRUE(CopyToUser(&own, uint64_t{8}));
  EXPECT_EQ(own, 8u);
  char* const last = static_cast<char*>(end) - 4;
  const auto there = CopyFromUser<uint32_t>(last);
  EXPECT_NE(there, std::nullopt);
  EXPECT_EQ(CopyFromUser<uint64_t>(last), std::nullopt);
  EXPECT_EQ(CopyFromUser<uint8_t>(end), std::nullopt);
  EXPECT_FALSE(CopyToUser(end, uint8_t{0}));
  return nullptr;
}

TEST(UserMemoryThreadsTest, RangeThatLeavesTheStackIsAFault) {
  void* const area = ::mmap(nullptr, kStackSize + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(area, MAP_FAILED);
  char* const end = static_cast<char*>(area) + kStackSize;
  ASSERT_EQ(::mprotect(end, kPage, PROT_NONE), 0);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ASSERT_EQ(::pthread_attr_setstack(&attributes, area, kStackSize), 0);
  pthread_t thread;
  ASSERT_EQ(::pthread_create(&thread, &attributes, LookBeyond, end), 0);
  ::pthread_join(thread, nullptr);
  ::pthread_attr_destroy(&attributes);
  ::munmap(area, kStackSize + kPage);
}

TEST(UserMemoryThreadsTest, StackOfAnotherThreadIsMemoryLikeAnyOther) {
  uint64_t of_this_thread = 5;
  pthread_t thread;
  const auto body = [](void* value) -> void* {
    EXPECT_EQ(CopyFromUser<uint64_t>(value), 5u);
    EXPECT_TRUE(CopyToUser(value, uint64_t{6}));
    return nullptr;
  };
  ASSERT_EQ(::pthread_create(&thread, nullptr, body, &of_this_thread), 0);
  ::pthread_join(thread, nullptr);
  EXPECT_EQ(of_this_thread, 6u);
}

}  // namespace
}  // namespace passthru::journal
