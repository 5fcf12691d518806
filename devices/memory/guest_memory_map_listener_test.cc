// SPDX-License-Identifier: Apache-2.0

// Tests what a GuestMemoryMap tells its listeners, and its state after one of
// them fails.

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"
#include "passthru/devices/memory/test_areas.h"

namespace passthru::memory {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Journal = std::vector<std::string>;

// Records its calls in a journal that it shares with other listeners.
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

  // The areas whose addition, or removal, fails with `refusal`.
  std::string refused_area;
  std::string kept_area;
  absl::Status refusal =
      kernel::ErrnoError(ENOMEM, "VFIO_IOMMU_MAP_DMA(iova=0x1000)");
  std::function<void()> during_call;

 private:
  const std::string name_;
  Journal* const journal_;
};

class MemoryListenerTest : public ::testing::Test {
 protected:
  GuestMemoryMap map_;
  Journal journal_;
  RecordingListener a_{"a", &journal_};
  RecordingListener b_{"b", &journal_};
};

TEST_F(MemoryListenerTest, ARefusedAreaIsNotToldOf) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  ASSERT_THAT(map_.Add(Ram("ram", 1, 2)), IsOk());
  ASSERT_FALSE(map_.Add(Ram("overlap", 2, 2)).ok());
  ASSERT_FALSE(map_.Add(Ram("empty", 8, 0)).ok());
  EXPECT_THAT(journal_, ElementsAre("a + ram"));
}

TEST_F(MemoryListenerTest, ListenersAreToldInOrderAndBackwards) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  ASSERT_THAT(map_.AddListener(&b_), IsOk());
  const AreaId id = map_.Add(Ram("ram", 1, 2)).value();
  ASSERT_THAT(map_.Remove(id), IsOk());
  EXPECT_THAT(journal_,
              ElementsAre("a + ram", "b + ram", "b - ram", "a - ram"));
}

// A guest that moves a BAR makes the map retry the removal each time.
TEST_F(MemoryListenerTest, ARemovalThatKeepsFailingDoesNotFillTheLog) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  const AreaId id = map_.Add(Ram("ram", 1, 2)).value();
  a_.kept_area = "ram";
  int messages = 0;
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kError, testing::_, testing::_))
      .WillRepeatedly([&messages](absl::LogSeverity, const std::string&,
                                  const std::string&) { ++messages; });
  log.StartCapturingLogs();
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(map_.Remove(id).ok());
  log.StopCapturingLogs();
  EXPECT_LT(messages, 100);
}

// Four listeners, of which number GetParam() fails.
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

  // Nothing is left behind that would block a second attempt.
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

  // No lookup finds the area any more, but its place is not free.
  EXPECT_THAT(map_.Areas(), IsEmpty());
  EXPECT_THAT(map_.Translate(GuestAddress(kPage), 1),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(map_.Add(Ram("other", 2, 2)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("whose removal failed")));

  // The retry calls only the listener that failed.
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

  // The listener is not registered.
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

TEST_F(MemoryListenerTest, AListenerThatKeepsARolledBackAreaHidesNoReason) {
  RecordingListener keeps("keeps", &journal_);
  RecordingListener refuses("refuses", &journal_);
  keeps.kept_area = "ram";
  keeps.refusal = absl::InternalError("stuck");
  refuses.refused_area = "ram";
  ASSERT_THAT(map_.AddListener(&keeps), IsOk());
  ASSERT_THAT(map_.AddListener(&refuses), IsOk());
  EXPECT_THAT(map_.Add(Ram("ram", 1, 1)).status(),
              StatusIs(refuses.refusal.code(), HasSubstr("MAP_DMA")));
  EXPECT_THAT(map_.Areas(), IsEmpty());
}

TEST_F(MemoryListenerTest, ANewListenerIsToldWhatIsThereByAddress) {
  ASSERT_THAT(map_.Add(Ram("high", 8, 1)), IsOk());
  ASSERT_THAT(map_.Add(Ram("low", 1, 1)), IsOk());
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  EXPECT_THAT(journal_, ElementsAre("a + low", "a + high"));
}

TEST_F(MemoryListenerTest, ANewListenerIsNotToldOfAHalfRemovedArea) {
  a_.kept_area = "ram";
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  const AreaId id = map_.Add(Ram("ram", 1, 1)).value();
  ASSERT_FALSE(map_.Remove(id).ok());
  journal_.clear();
  ASSERT_THAT(map_.AddListener(&b_), IsOk());
  EXPECT_THAT(journal_, IsEmpty());
}

TEST_F(MemoryListenerTest, OnceTheLastHolderIsGoneAHalfRemovedAreaCanGo) {
  a_.kept_area = "ram";
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  const AreaId id = map_.Add(Ram("ram", 1, 1)).value();
  ASSERT_FALSE(map_.Remove(id).ok());
  ASSERT_FALSE(map_.RemoveListener(&a_).ok());
  EXPECT_THAT(map_.Remove(id), IsOk());
}

TEST_F(MemoryListenerTest, WhatIsAbandonedStaysMappedUntilItCanGo) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  auto backing = std::make_shared<int>();
  MemoryArea bar = Ram("bar", 1, 1);
  bar.backing = backing;
  const AreaId id = map_.Add(bar).value();
  bar.backing.reset();
  a_.kept_area = "bar";
  EXPECT_THAT(map_.Abandon(id), StatusIs(a_.refusal.code()));
  EXPECT_THAT(map_.Areas(), IsEmpty());
  EXPECT_EQ(backing.use_count(), 2) << "the map holds it";

  // Every change retries the removal.
  journal_.clear();
  const auto ram = map_.Add(Ram("ram", 4, 1));
  ASSERT_THAT(ram, IsOk());
  EXPECT_THAT(journal_, ElementsAre("a - bar", "a + ram"));
  EXPECT_THAT(map_.RetryRemovals(), StatusIs(a_.refusal.code()));
  a_.kept_area.clear();
  journal_.clear();
  EXPECT_THAT(map_.Remove(*ram), IsOk());
  EXPECT_THAT(journal_, ElementsAre("a - bar", "a - ram"));
  EXPECT_EQ(backing.use_count(), 1);
  EXPECT_THAT(map_.RetryRemovals(), IsOk());
  EXPECT_THAT(map_.Add(bar), IsOk()) << "its place is free";
}

TEST_F(MemoryListenerTest, WhatCanGoIsNotAbandoned) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  EXPECT_THAT(map_.Abandon(AreaId()), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(map_.Abandon(map_.Add(Ram("ram", 1, 1)).value()), IsOk());
  journal_.clear();
  EXPECT_THAT(map_.RetryRemovals(), IsOk());
  EXPECT_THAT(journal_, IsEmpty());
}

// The guest still reaches the area, so nothing else may be there.
TEST_F(MemoryListenerTest, WhatCannotBeTakenBackOfAnAdditionKeepsItsPlace) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  ASSERT_THAT(map_.AddListener(&b_), IsOk());
  a_.kept_area = "ram";
  b_.refused_area = "ram";
  EXPECT_THAT(map_.Add(Ram("ram", 1, 1)), StatusIs(b_.refusal.code()));
  EXPECT_THAT(map_.Areas(), IsEmpty());
  EXPECT_THAT(map_.Add(Ram("other", 1, 1)),
              StatusIs(absl::StatusCode::kAlreadyExists));
  a_.kept_area.clear();
  EXPECT_THAT(map_.Add(Ram("other", 1, 1)), IsOk());
}

TEST_F(MemoryListenerTest, ARemovedListenerIsToldToGiveUpEverything) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  ASSERT_THAT(map_.AddListener(&b_), IsOk());
  ASSERT_THAT(map_.Add(Ram("low", 1, 1)), IsOk());
  const AreaId high = map_.Add(Ram("high", 8, 1)).value();
  journal_.clear();
  ASSERT_THAT(map_.RemoveListener(&a_), IsOk());
  ASSERT_THAT(map_.Remove(high), IsOk());
  EXPECT_THAT(journal_, ElementsAre("a - high", "a - low", "b - high"));
}

// The caller must know that closing the listener's kernel object is the only
// way left to get rid of the area.
TEST_F(MemoryListenerTest, WhatARefusedListenerKeepsIsNamed) {
  ASSERT_THAT(map_.Add(Ram("low", 1, 1)), IsOk());
  ASSERT_THAT(map_.Add(Ram("mid", 4, 1)), IsOk());
  ASSERT_THAT(map_.Add(Ram("high", 8, 1)), IsOk());
  a_.refused_area = "high";
  a_.kept_area = "low";
  const absl::Status status = map_.AddListener(&a_);
  EXPECT_THAT(journal_, ElementsAre("a + low", "a + mid", "a + high", "a - mid",
                                    "a - low"));
  EXPECT_EQ(kernel::ErrnoOf(status), ENOMEM) << "why it was refused";
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("failed to give back low [0x1000, +0x1000) RAM,"),
                    HasSubstr("adding high"), Not(HasSubstr("mid"))));
  EXPECT_THAT(map_.RemoveListener(&a_), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(MemoryListenerTest, RefusesNoListener) {
  EXPECT_THAT(map_.AddListener(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MemoryListenerTest, RefusesAListenerTwice) {
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  EXPECT_THAT(map_.AddListener(&a_),
              StatusIs(absl::StatusCode::kAlreadyExists));
  ASSERT_THAT(map_.Add(Ram("ram", 1, 1)), IsOk());
  EXPECT_THAT(journal_, ElementsAre("a + ram"));
}

TEST_F(MemoryListenerTest, AListenerThatWasNeverAddedIsNotFound) {
  EXPECT_THAT(map_.RemoveListener(&a_), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(MemoryListenerTest, AListenerSeesTheMapWithoutTheAreaInQuestion) {
  std::vector<std::vector<std::string>> seen;
  ASSERT_THAT(map_.Add(Ram("first", 1, 1)), IsOk());
  ASSERT_THAT(map_.AddListener(&a_), IsOk());
  a_.during_call = [&] {
    seen.push_back(Names(map_.Areas()));
    EXPECT_THAT(map_.Translate(GuestAddress(kPage), 1), IsOk());
    EXPECT_FALSE(map_.Translate(GuestAddress(4 * kPage), 1).ok());
  };
  const AreaId id = map_.Add(Ram("second", 4, 1)).value();
  ASSERT_THAT(map_.Remove(id), IsOk());
  EXPECT_THAT(seen, ElementsAre(ElementsAre("first"), ElementsAre("first")));
}

TEST_F(MemoryListenerTest, ListenersThatAreLeftAreNotToldOfTheEnd) {
  {
    GuestMemoryMap map;
    ASSERT_THAT(map.AddListener(&a_), IsOk());
    ASSERT_THAT(map.Add(Ram("ram", 1, 1)), IsOk());
  }
  EXPECT_THAT(journal_, ElementsAre("a + ram"));
}

}  // namespace
}  // namespace passthru::memory
