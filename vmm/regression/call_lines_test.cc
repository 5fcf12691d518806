// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/call_lines.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::vmm {
namespace {

using journal::Call;
using journal::JournalEntry;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

JournalEntry Made(Call call, int64_t result = 0, int error = 0) {
  return {.call = std::move(call), .result = result, .error = error};
}

JournalEntry Irqfd(int64_t gsi) {
  Call call{.name = "KVM_IRQFD", .subject = "vm"};
  return Made(call.Fd("fd", 7 + gsi).Number("gsi", gsi));
}

JournalEntry Slot(int64_t slot, uint64_t address) {
  Call call{.name = "SLOT", .subject = "vm"};
  return Made(call.Number("slot", slot).Hex("at", address));
}

JournalEntry Pread(uint32_t region, uint64_t offset) {
  Call call{.name = "pread", .subject = "vfio-device 0000:01:00.0"};
  call.Number("count", 4).Hex("offset", journal::FileOffset(region, offset));
  return Made(call, /*result=*/4);
}

TEST(CallLinesTest, DescriptorsAndAddressesAreLeftOut) {
  Call call{.name = "mmap",
            .subject = "vfio-device 0000:01:00.0",
            .result_kind = journal::CallField::Kind::kHostAddress};
  call.HostAddress("addr", 0x7f0000000000).Fd("fd", 12).Hex("length", 0x1000);
  EXPECT_THAT(CallLines({Made(call, 0x7f0000001000)}),
              ElementsAre("mmap(device, length=0x1000)"));
}

TEST(CallLinesTest, NoDescriptorIsShown) {
  Call call{.name = "VFIO_DEVICE_SET_IRQS"};
  call.Fd("fd[0]", -1).Fd("fd[1]", -1);
  EXPECT_THAT(CallLines({Made(call)}),
              ElementsAre("VFIO_DEVICE_SET_IRQS(fd[0]=-1)"));
}

TEST(CallLinesTest, FailureHasItsErrno) {
  EXPECT_THAT(CallLines({Made({.name = "open", .subject = "/dev/vfio/7"},
                              /*result=*/-1, EBUSY)}),
              ElementsAre("open(/dev/vfio/7) = EBUSY"));
}

TEST(CallLinesTest, WaitingIsNoCall) {
  EXPECT_THAT(
      CallLines({Made({.name = "KVM_RUN"}), Made({.name = "epoll_wait"})}),
      IsEmpty());
}

TEST(CallLinesTest, RepetitionIsARange) {
  EXPECT_THAT(CallLines({Irqfd(24), Irqfd(25), Irqfd(26)}),
              ElementsAre("3x KVM_IRQFD(vm, gsi=24..26)"));
}

TEST(CallLinesTest, RangeWithAStepSaysSo) {
  EXPECT_THAT(CallLines({Irqfd(10), Irqfd(20), Irqfd(30)}),
              ElementsAre("3x KVM_IRQFD(vm, gsi=10..30 step 10)"));
}

TEST(CallLinesTest, IrregularValuesAreAListThatIsCut) {
  EXPECT_THAT(
      CallLines({Irqfd(3), Irqfd(1), Irqfd(4), Irqfd(1), Irqfd(5), Irqfd(9)}),
      ElementsAre("6x KVM_IRQFD(vm, gsi=3|1|4|1|...|9)"));
}

TEST(CallLinesTest, ListOfOneMoreThanIsListedIsNotCut) {
  EXPECT_THAT(CallLines({Irqfd(3), Irqfd(1), Irqfd(4), Irqfd(1), Irqfd(5)}),
              ElementsAre("5x KVM_IRQFD(vm, gsi=3|1|4|1|5)"));
}

TEST(CallLinesTest, LoopIsFolded) {
  EXPECT_THAT(CallLines({Irqfd(1), Slot(1, 0x1000), Irqfd(2), Slot(1, 0x2000),
                         Irqfd(3), Slot(1, 0x3000), Slot(1, 0x4000)}),
              ElementsAre("3x", "  KVM_IRQFD(vm, gsi=1..3)",
                          "  SLOT(vm, slot=1, at=0x1000..0x3000 step 0x1000)",
                          "SLOT(vm, slot=1, at=0x4000)"));
}

TEST(CallLinesTest, AnErrorEndsALoop) {
  JournalEntry failed = Irqfd(2);
  failed.error = EINVAL;
  EXPECT_THAT(
      CallLines({Irqfd(1), failed, Irqfd(3)}),
      ElementsAre("KVM_IRQFD(vm, gsi=1)", "KVM_IRQFD(vm, gsi=2) = EINVAL",
                  "KVM_IRQFD(vm, gsi=3)"));
}

TEST(CallLinesTest, RegionsAreNamedAndConfigurationReadsCounted) {
  EXPECT_THAT(
      CallLines({Pread(7, 0x10), Pread(2, 0x10), Pread(7, 0x14)}),
      ElementsAre("pread(region 2, count=4, offset=0x10)", "2 pread(config)"));
}

TEST(CallLinesTest, MessageOfASignalCallIsNotToldTwice) {
  JournalEntry event = Made({.name = "msi", .subject = "vm 1"});
  event.kind = JournalEntry::Kind::kEvent;
  JournalEntry echo = event;
  event.call.Text("cause", "irqfd");
  echo.call.Text("cause", "KVM_SIGNAL_MSI");
  EXPECT_THAT(CallLines({echo, event}),
              ElementsAre("* msi(vm 1, cause=irqfd)"));
}

TEST(CallCountTest, EventsAndWaitingAreNoCalls) {
  JournalEntry event = Made({.name = "msi", .subject = "vm 1"});
  event.kind = JournalEntry::Kind::kEvent;
  EXPECT_EQ(
      CallCount({Irqfd(1), event, Made({.name = "KVM_RUN"}), Pread(7, 0)}), 2);
}

}  // namespace
}  // namespace passthru::vmm
