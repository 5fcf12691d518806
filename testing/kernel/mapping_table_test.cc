// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/mapping_table.h"

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class NamelessFile final : public FakeFile {
 public:
  std::string Describe() const override { return "nameless"; }
};

constexpr uint64_t kPage = 0x1000;

TEST(MappingTableTest, FindsTheBytesOfAMapping) {
  MappingTable table;
  table.Add({.address = 0x10000, .length = 2 * kPage, .offset = 0x5000});
  EXPECT_EQ(table.Find(0xffff), nullptr);
  ASSERT_NE(table.Find(0x10000), nullptr);
  EXPECT_EQ(table.Find(0x11fff)->offset, 0x5000u);
  EXPECT_EQ(table.Find(0x12000), nullptr);
}

TEST(MappingTableTest, UnmappingTheMiddleLeavesHeadAndTail) {
  MappingTable table;
  table.Add({.address = 0x10000, .length = 3 * kPage, .offset = 0x5000});
  table.Remove(0x11000, kPage);
  EXPECT_THAT(table.All(), SizeIs(2));
  EXPECT_EQ(table.Find(0x10000)->length, kPage);
  EXPECT_EQ(table.Find(0x11000), nullptr);
  EXPECT_EQ(table.Find(0x12000)->offset, 0x7000u);
}

TEST(MappingTableTest, MappingOverAnotherReplacesIt) {
  const auto file = std::make_shared<NamelessFile>();
  MappingTable table;
  table.Add({.address = 0x10000, .length = 3 * kPage});
  table.Add({.address = 0x11000, .length = kPage, .file = file});
  EXPECT_EQ(table.Find(0x10800)->file, nullptr);
  EXPECT_EQ(table.Find(0x11800)->file, file);
  EXPECT_EQ(table.Find(0x12800)->file, nullptr);
}

TEST(MappingTableTest, VisitsWhatOverlapsARange) {
  MappingTable table;
  table.Add({.address = 0x10000, .length = 2 * kPage});
  table.Add({.address = 0x12000, .length = kPage});
  table.Add({.address = 0x20000, .length = kPage});
  const auto in = [&table](uint64_t address, uint64_t length) {
    std::vector<uint64_t> found;
    table.ForEachIn(0, address, length, [&found](const Mapping& mapping) {
      found.push_back(mapping.address);
    });
    return found;
  };
  EXPECT_THAT(in(0x0, 0x10000), IsEmpty());
  EXPECT_THAT(in(0x0, 0x10001), ElementsAre(0x10000u));
  EXPECT_THAT(in(0x11000, kPage), ElementsAre(0x10000u));
  EXPECT_THAT(in(0x11fff, 2), ElementsAre(0x10000u, 0x12000u));
  EXPECT_THAT(in(0x12000, 0x10000), ElementsAre(0x12000u, 0x20000u));
  EXPECT_THAT(in(0x13000, kPage), IsEmpty());
}

TEST(MappingTableTest, ListsTheMappingsOfAFile) {
  const auto file = std::make_shared<NamelessFile>();
  MappingTable table;
  table.Add({.address = 0x10000, .length = kPage, .file = file});
  table.Add({.address = 0x20000, .length = kPage});
  table.Add({.address = 0x30000, .length = kPage, .file = file});
  EXPECT_THAT(table.Of(file.get()), SizeIs(2));
  table.Remove(0, 0x40000);
  EXPECT_THAT(table.Of(file.get()), IsEmpty());
  EXPECT_EQ(file.use_count(), 1);
}

// Compares the table with an array that holds one owner per page, after mapping
// and unmapping in random order.
TEST(MappingTableTest, AgreesWithAPageArray) {
  constexpr uint64_t kPages = 64;
  std::mt19937_64 random(20240722);
  MappingTable table;
  std::array<uint64_t, kPages> offset_of_page{};  // 0 if unmapped.
  uint64_t next_offset = kPage;
  for (int round = 0; round < 5000; ++round) {
    const uint64_t first = random() % kPages;
    const uint64_t count = 1 + random() % (kPages - first);
    if (random() % 2 == 0) {
      table.Add({.address = first * kPage,
                 .length = count * kPage,
                 .offset = next_offset});
      for (uint64_t page = first; page < first + count; ++page) {
        offset_of_page[page] = next_offset + (page - first) * kPage;
      }
      next_offset += kPages * kPage;
    } else {
      table.Remove(first * kPage, count * kPage);
      for (uint64_t page = first; page < first + count; ++page) {
        offset_of_page[page] = 0;
      }
    }
    for (uint64_t page = 0; page < kPages; ++page) {
      const Mapping* const found = table.Find(page * kPage + 5);
      const uint64_t offset =
          found == nullptr ? 0 : found->offset + page * kPage - found->address;
      ASSERT_EQ(offset, offset_of_page[page]) << "round " << round;
    }
  }
}

TEST(MappingTableTest, ProcessesHaveMappingsOfTheirOwn) {
  constexpr pid_t kParent = 1000;
  constexpr pid_t kChild = 1001;
  journal::Task task(kParent, -1);
  MappingTable table;
  table.Add({.address = 0x10000, .length = kPage, .offset = 1});
  {
    const journal::ScopedTask current(&task);
    EXPECT_EQ(table.Find(0x10000), nullptr);
    table.Add({.address = 0x10000, .length = 2 * kPage, .offset = 2});
    EXPECT_EQ(table.Find(0x11000)->offset, 2u);
  }
  EXPECT_EQ(table.Find(0x10000)->offset, 1u);
  EXPECT_EQ(table.Find(0x11000), nullptr);
  table.CopyProcess(kParent, kChild);
  EXPECT_THAT(table.All(), SizeIs(3));
  table.RemoveProcess(kParent);
  const journal::ScopedTask current(&task);
  EXPECT_EQ(table.Find(0x10000), nullptr);
  EXPECT_THAT(table.All(), SizeIs(2));
}

}  // namespace
}  // namespace passthru::fake
