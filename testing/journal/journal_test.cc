// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/journal.h"

#include <cerrno>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal_matchers.h"

namespace passthru::journal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

Call Irqfd(int fd, int gsi) {
  Call call{.name = "KVM_IRQFD", .subject = "vm"};
  call.Fd("fd", fd).Number("gsi", gsi).Hex("flags", 0);
  return call;
}

Call Open(std::string path) {
  Call call{.name = "open",
            .subject = std::move(path),
            .result_kind = CallField::Kind::kFd};
  return call;
}

TEST(JournalTest, KeepsCallsAndEventsInOrder) {
  Journal journal;
  journal.RecordCall(Open("/dev/kvm"), 7, 0);
  journal.RecordCall(Irqfd(8, 24), 0, EBUSY);
  journal.RecordEvent(Call{.name = "interrupt"});
  EXPECT_THAT(
      journal.Entries(),
      ElementsAre(AllOf(IsCall("open"), OnSubject("/dev/kvm")),
                  IsFailedCall("KVM_IRQFD", EBUSY), IsEvent("interrupt")));
}

TEST(JournalTest, FieldsAreFoundByName) {
  Journal journal;
  journal.RecordCall(Irqfd(8, 24), 0, 0);
  const JournalEntry entry = journal.Entries().front();
  EXPECT_EQ(entry.Number("gsi"), 24);
  EXPECT_EQ(entry.Number("absent", 9), 9);
  EXPECT_THAT(entry, WithField("gsi", Gt(23)));
  EXPECT_THAT(entry, Not(WithField("absent", -1)));
}

TEST(JournalTest, FiltersByNameAndPredicate) {
  Journal journal;
  journal.RecordCall(Open("/dev/kvm"), 7, 0);
  journal.RecordCall(Irqfd(8, 24), 0, 0);
  journal.RecordCall(Irqfd(9, 25), 0, 0);
  EXPECT_THAT(journal.EntriesNamed({"KVM_IRQFD", "KVM_RUN"}),
              ElementsAre(WithField("gsi", 24), WithField("gsi", 25)));
  EXPECT_THAT(journal.EntriesWhere([](const JournalEntry& entry) {
    return entry.Number("gsi") == 25;
  }),
              ElementsAre(WithField("fd", 9)));
}

TEST(JournalTest, CountsByName) {
  Journal journal;
  journal.RecordCall(Irqfd(8, 24), 0, 0);
  journal.RecordCall(Irqfd(8, 24), 0, EBUSY);
  journal.RecordEvent(Call{.name = "interrupt"});
  EXPECT_EQ(journal.Count("KVM_IRQFD"), 2u);
  EXPECT_EQ(journal.Count("KVM_RUN"), 0u);
  EXPECT_THAT(journal.CallCounts(), ElementsAre(Pair("KVM_IRQFD", 2)));
  EXPECT_THAT(journal.EventCounts(), ElementsAre(Pair("interrupt", 1)));
  EXPECT_EQ(journal.CountWhere(
                [](const JournalEntry& entry) { return entry.error != 0; }),
            1u);
}

TEST(JournalTest, ClearForgets) {
  Journal journal;
  journal.RecordCall(Irqfd(8, 24), 0, 0);
  journal.Clear();
  EXPECT_THAT(journal.Entries(), IsEmpty());
  EXPECT_EQ(journal.Count("KVM_IRQFD"), 0u);
}

TEST(JournalTest, CountsOnlyWhenEntriesAreNotKept) {
  Journal journal;
  journal.set_keep_entries(false);
  journal.RecordCall(Irqfd(8, 24), 0, 0);
  EXPECT_THAT(journal.Entries(), IsEmpty());
  EXPECT_EQ(journal.Count("KVM_IRQFD"), 1u);
}

TEST(JournalTest, EntryReadsLikeTheCall) {
  Journal journal;
  journal.RecordCall(Irqfd(8, 24), 0, EBUSY);
  EXPECT_EQ(journal.Entries().front().ToString(),
            "KVM_IRQFD(vm, fd=8, gsi=24, flags=0x0) = EBUSY");
}

TEST(JournalTest, NormalizedTextDoesNotDependOnNumbers) {
  const auto record = [](int first_fd, uint64_t address) {
    Journal journal;
    journal.RecordCall(Open("/dev/kvm"), first_fd, 0);
    Call map{.name = "mmap", .result_kind = CallField::Kind::kHostAddress};
    map.Fd("fd", -1);
    journal.RecordCall(std::move(map), static_cast<int64_t>(address), 0);
    Call close{.name = "close"};
    close.Fd("fd", first_fd);
    journal.RecordCall(std::move(close), 0, 0);
    return journal.NormalizedText();
  };
  EXPECT_EQ(record(7, 0x7f0000001000), record(11, 0x7fffffff0000));
  EXPECT_EQ(record(7, 0x7f0000001000),
            "open(/dev/kvm) = fd#1\n"
            "mmap(fd=-1) = addr#1\n"
            "close(fd=fd#1) = 0\n");
}

TEST(JournalTest, NumberGivenBackComesAgainUnderAnotherName) {
  Journal journal;
  Call close{.name = "close"};
  close.Fd("fd", 7);
  journal.RecordCall(Open("/dev/kvm"), 7, 0);
  journal.RecordCall(close, 0, 0);
  journal.RecordCall(Open("/dev/kvm"), 7, 0);
  EXPECT_EQ(journal.NormalizedText(),
            "open(/dev/kvm) = fd#1\n"
            "close(fd=fd#1) = 0\n"
            "open(/dev/kvm) = fd#2\n");
}

}  // namespace
}  // namespace passthru::journal
