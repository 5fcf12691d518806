// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_slots.h"

#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <random>

#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHost = 0x7f0000000000;

kvm_userspace_memory_region Region(uint32_t slot, uint64_t guest, uint64_t size,
                                   uint64_t host = kHost, uint32_t flags = 0) {
  return {.slot = slot,
          .flags = flags,
          .guest_phys_addr = guest,
          .memory_size = size,
          .userspace_addr = host};
}

class FakeKvmSlotsTest : public ::testing::Test {
 protected:
  static constexpr unsigned kAddressBits = 46;
  FakeKvmSlots slots_{KernelVersion::k6_12, kAddressBits};
};

TEST_F(FakeKvmSlotsTest, FindsTheSlotOfAnAddress) {
  EXPECT_EQ(slots_.Set(Region(3, 0x10000, 2 * kPage)), 0);
  EXPECT_EQ(slots_.Find(0xffff), nullptr);
  ASSERT_NE(slots_.Find(0x10000), nullptr);
  EXPECT_EQ(slots_.Find(0x11fff)->slot, 3u);
  EXPECT_EQ(slots_.Find(0x12000), nullptr);
}

TEST_F(FakeKvmSlotsTest, SystemManagementSlotsAreNotTheGuests) {
  EXPECT_EQ(slots_.Set(Region(1 << 16, 0, kPage)), 0);
  EXPECT_EQ(slots_.Find(0), nullptr);
  EXPECT_EQ(slots_.Set(Region(0, 0, kPage)), 0) << "they may overlap";
}

TEST_F(FakeKvmSlotsTest, MoveTakesTheSlotAlong) {
  EXPECT_EQ(slots_.Set(Region(0, 0, kPage)), 0);
  EXPECT_EQ(slots_.Set(Region(0, 0x5000, kPage)), 0);
  EXPECT_EQ(slots_.Find(0), nullptr);
  ASSERT_NE(slots_.Find(0x5000), nullptr);
  EXPECT_EQ(slots_.All().size(), 1u);
}

TEST_F(FakeKvmSlotsTest, ReadOnlyIsRemembered) {
  EXPECT_EQ(slots_.Set(Region(0, 0, kPage, kHost, KVM_MEM_READONLY)), 0);
  EXPECT_TRUE(slots_.Find(0)->read_only());
}

TEST_F(FakeKvmSlotsTest, SizeBeyondTheUserRangeIsEinval) {
  EXPECT_EQ(slots_.Set(Region(0, 0, uint64_t{1} << 48)), EINVAL);
  EXPECT_EQ(slots_.Set(Region(0, 0, 2 * kPage, 0x7ffffffff000 - kPage)),
            EINVAL);
  EXPECT_EQ(slots_.Set(Region(0, 0, kPage, 0x7ffffffff000 - kPage)), 0);
}

TEST_F(FakeKvmSlotsTest, MoreThan8TiBIsEinval) {
  EXPECT_EQ(slots_.Set(Region(0, 0, uint64_t{1} << 43, 0)), EINVAL);
  EXPECT_EQ(slots_.Set(Region(0, 0, (uint64_t{1} << 43) - kPage, 0)), 0);
}

TEST_F(FakeKvmSlotsTest, AddressBeyondTheCpusIsEinval) {
  EXPECT_EQ(slots_.Set(Region(0, uint64_t{1} << kAddressBits, kPage)), EINVAL);
  EXPECT_EQ(slots_.Set(Region(0, (uint64_t{1} << kAddressBits) - kPage, kPage)),
            0);
}

// Compares the slots with an array that holds one owner per page, after
// creations, moves and deletions in random order.
TEST_F(FakeKvmSlotsTest, AgreesWithAPageArray) {
  constexpr uint64_t kPages = 48;
  constexpr uint32_t kSlots = 8;
  std::mt19937_64 random(6012);
  std::array<int, kPages> owner;
  owner.fill(-1);
  std::array<uint64_t, kSlots> sizes{};  // In pages. 0 if absent.
  const auto release = [&owner](uint32_t slot) {
    for (int& page : owner) {
      if (page == static_cast<int>(slot)) page = -1;
    }
  };
  for (int round = 0; round < 20000; ++round) {
    const auto slot = static_cast<uint32_t>(random() % kSlots);
    const uint64_t first = random() % kPages;
    const uint64_t count =
        random() % 4 == 0
            ? 0
            : 1 + random() % std::min<uint64_t>(8, kPages - first);
    bool overlaps = false;
    for (uint64_t page = first; page < first + count; ++page) {
      overlaps |= owner[page] >= 0 && owner[page] != static_cast<int>(slot);
    }
    int expected = 0;
    if (count == 0) {
      expected = sizes[slot] == 0 ? EINVAL : 0;
    } else if (sizes[slot] != 0 && sizes[slot] != count) {
      expected = EINVAL;
    } else if (overlaps) {
      expected = EEXIST;
    }
    ASSERT_EQ(slots_.Set(Region(slot, first * kPage, count * kPage)), expected)
        << "round " << round;
    if (expected == 0) {
      release(slot);
      sizes[slot] = count;
      for (uint64_t page = first; page < first + count; ++page) {
        owner[page] = static_cast<int>(slot);
      }
    }
    for (uint64_t page = 0; page < kPages; ++page) {
      const FakeKvmSlot* const found = slots_.Find(page * kPage + 7);
      ASSERT_EQ(found == nullptr ? -1 : static_cast<int>(found->slot),
                owner[page])
          << "round " << round;
    }
  }
}

}  // namespace
}  // namespace passthru::fake
