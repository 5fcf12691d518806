// SPDX-License-Identifier: Apache-2.0

#include "devices/memory/guest_memory_map.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "devices/kernel/errors.h"
#include "devices/kernel/page_size.h"
#include "devices/memory/guest_address.h"
#include "devices/memory/guest_memory.h"
#include "devices/memory/memory_area.h"
#include "devices/memory/memory_listener.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::memory {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const uint64_t kPage = kernel::PageSize();

// Host addresses are only computed with, never touched.
void* Host(uint64_t address) { return reinterpret_cast<void*>(address); }

MemoryArea Ram(std::string name, uint64_t first_page, uint64_t pages) {
  return {.guest = GuestAddress(first_page * kPage),
          .size = pages * kPage,
          .host = Host(0x10000000 + first_page * kPage),
          .name = std::move(name)};
}

std::vector<std::string> Names(const std::vector<MemoryArea>& areas) {
  std::vector<std::string> names;
  for (const MemoryArea& area : areas) names.push_back(area.name);
  return names;
}

using Journal = std::vector<std::string>;

// Writes down what it is told in a journal that it shares with others.
class RecordingListener final : public MemoryListener {
 public:
  RecordingListener(std::string name, Journal* journal)
      : name_(std::move(name)), journal_(journal) {}

  absl::Status OnAdd(const MemoryArea& area) override {
    journal_->push_back(absl::StrCat(name_, " + ", area.name));
    if (during_call) during_call();
    if (area.name == refused_area) return refusal;
    return absl::OkStatus();
  }

  absl::Status OnRemove(const MemoryArea& area) override {
    journal_->push_back(absl::StrCat(name_, " - ", area.name));
    if (during_call) during_call();
    if (area.name == kept_area) return refusal;
    return absl::OkStatus();
  }

  // Areas whose addition, or removal, fails with `refusal`.
  std::string refused_area;
  std::string kept_area;
  absl::Status refusal =
      kernel::ErrnoError(ENOMEM, "VFIO_IOMMU_MAP_DMA(iova=0x1000)");
  std::function<void()> during_call;

 private:
  const std::string name_;
  Journal* const journal_;
};

TEST(GuestMemoryMapTest, AnAddedAreaIsThere) {
  GuestMemoryMap map;
  const MemoryArea area = Ram("ram", 1, 2);
  ASSERT_THAT(map.Add(area), IsOk());
  EXPECT_THAT(map.Areas(), ElementsAre(area));
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

// Areas around, beside and in [10, 14).
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

TEST(GuestMemoryMapTest, ARefusedAreaIsNotToldOf) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener listener("a", &journal);
  ASSERT_THAT(map.AddListener(&listener), IsOk());
  ASSERT_THAT(map.Add(Ram("ram", 1, 2)), IsOk());
  ASSERT_FALSE(map.Add(Ram("overlap", 2, 2)).ok());
  ASSERT_FALSE(map.Add(Ram("empty", 8, 0)).ok());
  EXPECT_THAT(journal, ElementsAre("a + ram"));
}

TEST(GuestMemoryMapTest, ListenersAreToldInOrderAndBackwards) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener a("a", &journal);
  RecordingListener b("b", &journal);
  ASSERT_THAT(map.AddListener(&a), IsOk());
  ASSERT_THAT(map.AddListener(&b), IsOk());
  const AreaId id = map.Add(Ram("ram", 1, 2)).value();
  ASSERT_THAT(map.Remove(id), IsOk());
  EXPECT_THAT(journal, ElementsAre("a + ram", "b + ram", "b - ram", "a - ram"));
}

// Four listeners, of which the one at GetParam() fails.
class FailingListenerTest : public testing::TestWithParam<size_t> {
 protected:
  static constexpr size_t kCount = 4;

  FailingListenerTest() {
    for (size_t i = 0; i < kCount; ++i) {
      listeners_.push_back(
          std::make_unique<RecordingListener>(absl::StrCat("l", i), &journal_));
      EXPECT_THAT(map_.AddListener(listeners_.back().get()), IsOk());
    }
  }

  size_t position() const { return GetParam(); }
  RecordingListener& failing() { return *listeners_[position()]; }
  static std::string Line(size_t i, const char* what) {
    return absl::StrCat("l", i, " ", what);
  }

  Journal journal_;
  std::vector<std::unique_ptr<RecordingListener>> listeners_;
  GuestMemoryMap map_;
};

TEST_P(FailingListenerTest, ARefusedAdditionIsRolledBack) {
  failing().refused_area = "ram";
  const absl::Status status = map_.Add(Ram("ram", 1, 2)).status();
  EXPECT_THAT(status, StatusIs(failing().refusal.code(),
                               AllOf(HasSubstr("adding ram"),
                                     HasSubstr("VFIO_IOMMU_MAP_DMA"))));
  EXPECT_EQ(kernel::ErrnoOf(status), ENOMEM);

  Journal expected;
  for (size_t i = 0; i <= position(); ++i) expected.push_back(Line(i, "+ ram"));
  for (size_t i = position(); i-- > 0;) expected.push_back(Line(i, "- ram"));
  EXPECT_EQ(journal_, expected);
  EXPECT_THAT(map_.Areas(), IsEmpty());

  // Nothing is left that would be in the way of a second try.
  failing().refused_area.clear();
  EXPECT_THAT(map_.Add(Ram("ram", 1, 2)), IsOk());
}

TEST_P(FailingListenerTest, AFailedRemovalTellsTheOthersAndCanBeTriedAgain) {
  const AreaId id = map_.Add(Ram("ram", 1, 2)).value();
  journal_.clear();
  failing().kept_area = "ram";
  EXPECT_THAT(map_.Remove(id),
              StatusIs(failing().refusal.code(), HasSubstr("removing ram")));
  Journal expected;
  for (size_t i = kCount; i-- > 0;) expected.push_back(Line(i, "- ram"));
  EXPECT_EQ(journal_, expected);

  // Nobody gets at the area any more, but its place is not free.
  EXPECT_THAT(map_.Areas(), IsEmpty());
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 1),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(map_.Add(Ram("other", 2, 2)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("whose removal failed")));

  // Only the one that held on is asked again.
  journal_.clear();
  EXPECT_THAT(map_.Remove(id), StatusIs(failing().refusal.code()));
  failing().kept_area.clear();
  EXPECT_THAT(map_.Remove(id), IsOk());
  EXPECT_THAT(journal_, ElementsAre(Line(position(), "- ram"),
                                    Line(position(), "- ram")));
  EXPECT_THAT(map_.Add(Ram("other", 2, 2)), IsOk());
}

TEST_P(FailingListenerTest, AnAreaThatHasBeenReplayedIsRolledBack) {
  RecordingListener late("late", &journal_);
  for (size_t i = 0; i < kCount; ++i)
    ASSERT_THAT(map_.Add(Ram(absl::StrCat("r", i), i * 2, 1)), IsOk());
  journal_.clear();
  late.refused_area = absl::StrCat("r", position());
  EXPECT_THAT(map_.AddListener(&late),
              StatusIs(late.refusal.code(),
                       HasSubstr(absl::StrCat("adding r", position()))));
  Journal expected;
  for (size_t i = 0; i <= position(); ++i)
    expected.push_back(absl::StrCat("late + r", i));
  for (size_t i = position(); i-- > 0;)
    expected.push_back(absl::StrCat("late - r", i));
  EXPECT_EQ(journal_, expected);

  // It is not registered.
  EXPECT_THAT(map_.RemoveListener(&late),
              StatusIs(absl::StatusCode::kNotFound));
  late.refused_area.clear();
  EXPECT_THAT(map_.AddListener(&late), IsOk());
}

TEST_P(FailingListenerTest, AListenerIsUnregisteredEvenIfARemovalFails) {
  RecordingListener late("late", &journal_);
  for (size_t i = 0; i < kCount; ++i)
    ASSERT_THAT(map_.Add(Ram(absl::StrCat("r", i), i * 2, 1)), IsOk());
  ASSERT_THAT(map_.AddListener(&late), IsOk());
  journal_.clear();
  late.kept_area = absl::StrCat("r", position());
  EXPECT_THAT(map_.RemoveListener(&late),
              StatusIs(late.refusal.code(),
                       HasSubstr(absl::StrCat("removing r", position()))));
  EXPECT_THAT(journal_,
              ElementsAre("late - r3", "late - r2", "late - r1", "late - r0"));
  journal_.clear();
  ASSERT_THAT(map_.Add(Ram("more", 100, 1)), IsOk());
  for (const std::string& line : journal_)
    EXPECT_THAT(line, Not(HasSubstr("late")));
}

INSTANTIATE_TEST_SUITE_P(Positions, FailingListenerTest,
                         testing::Values(0, 1, 2, 3));

TEST(GuestMemoryMapTest, AListenerThatKeepsARolledBackAreaHidesNoReason) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener keeps("keeps", &journal);
  RecordingListener refuses("refuses", &journal);
  keeps.kept_area = "ram";
  keeps.refusal = absl::InternalError("stuck");
  refuses.refused_area = "ram";
  ASSERT_THAT(map.AddListener(&keeps), IsOk());
  ASSERT_THAT(map.AddListener(&refuses), IsOk());
  EXPECT_THAT(map.Add(Ram("ram", 1, 1)).status(),
              StatusIs(refuses.refusal.code(), HasSubstr("MAP_DMA")));
  EXPECT_THAT(map.Areas(), IsEmpty());
}

TEST(GuestMemoryMapTest, ANewListenerIsToldWhatIsThereByAddress) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener listener("a", &journal);
  ASSERT_THAT(map.Add(Ram("high", 8, 1)), IsOk());
  ASSERT_THAT(map.Add(Ram("low", 1, 1)), IsOk());
  ASSERT_THAT(map.AddListener(&listener), IsOk());
  EXPECT_THAT(journal, ElementsAre("a + low", "a + high"));
}

TEST(GuestMemoryMapTest, ANewListenerIsNotToldOfAHalfRemovedArea) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener a("a", &journal);
  RecordingListener b("b", &journal);
  a.kept_area = "ram";
  ASSERT_THAT(map.AddListener(&a), IsOk());
  const AreaId id = map.Add(Ram("ram", 1, 1)).value();
  ASSERT_FALSE(map.Remove(id).ok());
  journal.clear();
  ASSERT_THAT(map.AddListener(&b), IsOk());
  EXPECT_THAT(journal, IsEmpty());
}

TEST(GuestMemoryMapTest, OnceTheLastHolderIsGoneAHalfRemovedAreaCanGo) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener a("a", &journal);
  a.kept_area = "ram";
  ASSERT_THAT(map.AddListener(&a), IsOk());
  const AreaId id = map.Add(Ram("ram", 1, 1)).value();
  ASSERT_FALSE(map.Remove(id).ok());
  ASSERT_FALSE(map.RemoveListener(&a).ok());
  EXPECT_THAT(map.Remove(id), IsOk());
}

TEST(GuestMemoryMapTest, ARemovedListenerIsToldToGiveUpEverything) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener a("a", &journal);
  RecordingListener b("b", &journal);
  ASSERT_THAT(map.AddListener(&a), IsOk());
  ASSERT_THAT(map.AddListener(&b), IsOk());
  ASSERT_THAT(map.Add(Ram("low", 1, 1)), IsOk());
  const AreaId high = map.Add(Ram("high", 8, 1)).value();
  journal.clear();
  ASSERT_THAT(map.RemoveListener(&a), IsOk());
  ASSERT_THAT(map.Remove(high), IsOk());
  EXPECT_THAT(journal, ElementsAre("a - high", "a - low", "b - high"));
}

TEST(GuestMemoryMapTest, RefusesNoListener) {
  GuestMemoryMap map;
  EXPECT_THAT(map.AddListener(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(GuestMemoryMapTest, RefusesAListenerTwice) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener listener("a", &journal);
  ASSERT_THAT(map.AddListener(&listener), IsOk());
  EXPECT_THAT(map.AddListener(&listener),
              StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_THAT(map.Add(Ram("ram", 1, 1)), IsOk());
  EXPECT_THAT(journal, ElementsAre("a + ram"));
}

TEST(GuestMemoryMapTest, AListenerThatWasNeverAddedIsNotFound) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener listener("a", &journal);
  EXPECT_THAT(map.RemoveListener(&listener),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(GuestMemoryMapTest, AListenerSeesTheMapWithoutTheAreaInQuestion) {
  GuestMemoryMap map;
  Journal journal;
  RecordingListener listener("a", &journal);
  std::vector<std::vector<std::string>> seen;
  ASSERT_THAT(map.Add(Ram("first", 1, 1)), IsOk());
  ASSERT_THAT(map.AddListener(&listener), IsOk());
  listener.during_call = [&] {
    seen.push_back(Names(map.Areas()));
    EXPECT_THAT(map.Translate(GuestAddress(kPage), 1), IsOk());
    EXPECT_FALSE(map.Translate(GuestAddress(4 * kPage), 1).ok());
  };
  const AreaId id = map.Add(Ram("second", 4, 1)).value();
  ASSERT_THAT(map.Remove(id), IsOk());
  EXPECT_THAT(seen, ElementsAre(ElementsAre("first"), ElementsAre("first")));
}

TEST(GuestMemoryMapTest, ListenersThatAreLeftAreNotToldOfTheEnd) {
  Journal journal;
  RecordingListener listener("a", &journal);
  {
    GuestMemoryMap map;
    ASSERT_THAT(map.AddListener(&listener), IsOk());
    ASSERT_THAT(map.Add(Ram("ram", 1, 1)), IsOk());
  }
  EXPECT_THAT(journal, ElementsAre("a + ram"));
}

class TranslateTest : public testing::Test {
 protected:
  TranslateTest() {
    EXPECT_THAT(map_.Add(Ram("low", 1, 2)), IsOk());
    EXPECT_THAT(map_.Add(Ram("next", 3, 1)), IsOk());
    MemoryArea rom = Ram("rom", 8, 1);
    rom.read_only = true;
    EXPECT_THAT(map_.Add(rom), IsOk());
    MemoryArea bar = Ram("0000:01:00.0 BAR 0", 16, 1);
    bar.kind = MemoryArea::Kind::kDeviceBar;
    EXPECT_THAT(map_.Add(bar), IsOk());
  }

  GuestMemoryMap map_;
};

TEST_F(TranslateTest, FindsTheHostAddress) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage + 0x123), 4),
              IsOkAndHolds(Host(0x10000000 + kPage + 0x123)));
}

TEST_F(TranslateTest, TheWholeAreaIsInReach) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 2 * kPage),
              IsOkAndHolds(Host(0x10000000 + kPage)));
  EXPECT_THAT(map_.Translate(GuestAddress(3 * kPage - 1), 1), IsOk());
}

TEST_F(TranslateTest, RefusesSizeZero) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(TranslateTest, RefusesWhereNothingIs) {
  for (const uint64_t address :
       {uint64_t{0}, kPage - 1, 4 * kPage, 9 * kPage, ~uint64_t{0}}) {
    EXPECT_THAT(map_.Translate(GuestAddress(address), 1),
                StatusIs(absl::StatusCode::kNotFound,
                         HasSubstr(absl::StrCat(GuestAddress(address)))));
  }
}

// Host memory of neighbours need not be contiguous.
TEST_F(TranslateTest, RefusesToCrossIntoAnotherArea) {
  EXPECT_THAT(map_.Translate(GuestAddress(3 * kPage - 1), 2),
              StatusIs(absl::StatusCode::kOutOfRange,
                       AllOf(HasSubstr("0x2 bytes"), HasSubstr("low"))));
}

TEST_F(TranslateTest, ASizeNearTheEndOfTheAddressSpaceDoesNotWrap) {
  EXPECT_THAT(map_.Translate(GuestAddress(kPage + 1), ~uint64_t{0}),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(TranslateTest, ReadOnlyMemoryMayBeRead) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8, Access::kRead),
              IsOk());
}

TEST_F(TranslateTest, ReadOnlyMemoryMayNotBeWritten) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8, Access::kWrite),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("rom")));
}

TEST_F(TranslateTest, WantsToWriteUnlessTold) {
  EXPECT_THAT(map_.Translate(GuestAddress(8 * kPage), 8),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(TranslateTest, ADevicesBarIsNotMemory) {
  EXPECT_THAT(map_.Translate(GuestAddress(16 * kPage), 4, Access::kRead),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("0000:01:00.0 BAR 0")));
}

}  // namespace
}  // namespace passthru::memory
