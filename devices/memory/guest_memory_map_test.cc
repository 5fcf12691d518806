// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/guest_memory_map.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/test_areas.h"

namespace passthru::memory {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(GuestMemoryMapTest, AnAddedAreaIsThere) {
  GuestMemoryMap map;
  const MemoryArea area = Ram("ram", 1, 2);
  ASSERT_THAT(map.Add(area), IsOk());
  EXPECT_THAT(map.Areas(), ElementsAre(area));
}

TEST(GuestMemoryMapTest, NoAreaReachesIntoWhatIsReserved) {
  GuestMemoryMap map(
      {{.first = GuestAddress(4 * kPage), .size = 2 * kPage, .name = "ECAM"}});
  for (const unsigned page : {3, 4, 5}) {
    EXPECT_THAT(map.Add(Ram("ram", page, 2)),
                StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("ECAM")))
        << page;
  }
  EXPECT_THAT(map.Add(Ram("ram", 2, 5)),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(map.Add(Ram("below", 2, 2)), IsOk());
  EXPECT_THAT(map.Add(Ram("above", 6, 2)), IsOk());
}

TEST(GuestMemoryMapTest, ListsAreasByAddress) {
  GuestMemoryMap map;
  ASSERT_THAT(map.Add(Ram("high", 16, 1)), IsOk());
  ASSERT_THAT(map.Add(Ram("low", 0, 1)), IsOk());
  ASSERT_THAT(map.Add(Ram("middle", 8, 1)), IsOk());
  EXPECT_THAT(Names(map.Areas()), ElementsAre("low", "middle", "high"));
}

TEST(GuestMemoryMapTest, ARemovedAreaIsGone) {
  GuestMemoryMap map;
  const AreaId id = map.Add(Ram("ram", 1, 2)).value();
  EXPECT_THAT(map.Remove(id), IsOk());
  EXPECT_THAT(map.Areas(), IsEmpty());
  EXPECT_THAT(map.Add(Ram("other", 2, 2)), IsOk());
}

TEST(GuestMemoryMapTest, RemovingTwiceRemovesNothingElse) {
  GuestMemoryMap map;
  const AreaId id = map.Add(Ram("ram", 1, 2)).value();
  ASSERT_THAT(map.Remove(id), IsOk());
  ASSERT_THAT(map.Add(Ram("other", 1, 2)), IsOk());
  EXPECT_THAT(map.Remove(id), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(map.Areas().size(), 1u);
}

TEST(GuestMemoryMapTest, AnIdThatNamesNothingIsNotFound) {
  GuestMemoryMap map;
  EXPECT_THAT(map.Remove(AreaId()), StatusIs(absl::StatusCode::kNotFound));
}

TEST(GuestMemoryMapTest, RefusesSizeZero) {
  GuestMemoryMap map;
  EXPECT_THAT(map.Add(Ram("ram", 1, 0)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("ram"), HasSubstr("size 0"))));
}

TEST(GuestMemoryMapTest, RefusesAGuestAddressInsideAPage) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 1);
  area.guest = area.guest + 0x200;
  EXPECT_THAT(map.Add(area), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("begin at a page")));
}

TEST(GuestMemoryMapTest, RefusesASizeThatIsNotWholePages) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 1);
  area.size += 1;
  EXPECT_THAT(map.Add(area), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("whole pages")));
}

TEST(GuestMemoryMapTest, RefusesAnAreaBeyondTheAddressSpace) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 2);
  area.guest = GuestAddress(~uint64_t{0} - kPage + 1);
  EXPECT_THAT(map.Add(area),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2^64")));
}

TEST(GuestMemoryMapTest, RefusesAnAreaWithoutHostMemory) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 1);
  area.host = nullptr;
  EXPECT_THAT(map.Add(area), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("no host memory")));
}

TEST(GuestMemoryMapTest, RefusesHostMemoryInsideAPage) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 1);
  area.host = Host(0x10000010);
  EXPECT_THAT(map.Add(area), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("0x10000010")));
}

TEST(GuestMemoryMapTest, AnAreaMayEndAtTheEndOfTheAddressSpace) {
  GuestMemoryMap map;
  MemoryArea area = Ram("ram", 1, 1);
  area.guest = GuestAddress(~uint64_t{0} - kPage + 1);
  ASSERT_THAT(map.Add(area), IsOk());
  EXPECT_THAT(map.Translate(GuestAddress(~uint64_t{0}), 1),
              IsOkAndHolds(Host(0x10000000 + 2 * kPage - 1)));
  EXPECT_THAT(map.Translate(GuestAddress(~uint64_t{0}), 2),
              StatusIs(absl::StatusCode::kOutOfRange));
}

// Tries areas around, beside and inside the pages [10, 14).
TEST(GuestMemoryMapTest, AreasDoNotOverlap) {
  GuestMemoryMap map;
  ASSERT_THAT(map.Add(Ram("ram", 10, 4)), IsOk());
  const struct {
    uint64_t first, pages;
  } overlapping[] = {{10, 4}, {9, 2}, {13, 2}, {11, 2}, {8, 10}, {10, 1}};
  for (const auto& [first, pages] : overlapping) {
    EXPECT_THAT(map.Add(Ram("other", first, pages)),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         AllOf(HasSubstr("other"), HasSubstr("ram"))))
        << first;
  }
  EXPECT_THAT(map.Add(Ram("below", 8, 2)), IsOk());
  EXPECT_THAT(map.Add(Ram("above", 14, 2)), IsOk());
}

}  // namespace
}  // namespace passthru::memory
