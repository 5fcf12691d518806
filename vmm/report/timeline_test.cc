// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/timeline.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/call.h"

namespace passthru::vmm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kRamSize = 0x10000;

// A guest's CPU that answers every load with 0x2a, and has one interrupt.
class ScriptedCpu final : public guest::GuestCpu {
 public:
  uint64_t Load(uint64_t, unsigned) override { return 0x2a; }
  void Store(uint64_t, unsigned, uint64_t) override {}
  uint32_t In(uint16_t, unsigned) override { return 0x2b; }
  void Out(uint16_t, unsigned, uint32_t) override {}
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override {
    if (taken_) return std::nullopt;
    taken_ = true;
    return guest::GuestInterrupt{.address = 0xfee00000, .data = 0x41};
  }
  bool Stopping() const override { return false; }

 private:
  bool taken_ = false;
};

void Call(Timeline& timeline, const std::string& name, int error = 0) {
  const Timeline::Time now = std::chrono::steady_clock::now();
  timeline.OnCall(journal::Call{.name = name}, name + "()", error, now,
                  now + std::chrono::microseconds(3));
}

TEST(TimelineTest, PhasesFollowOneAnother) {
  Timeline timeline;
  timeline.BeginPhase("attach");
  timeline.BeginPhase("work");
  timeline.EndPhase();
  const TimelineData data = timeline.Data();
  ASSERT_THAT(data.phases, SizeIs(2));
  EXPECT_EQ(data.phases[0].name, "attach");
  EXPECT_EQ(data.phases[0].end, data.phases[1].begin);
  EXPECT_LE(data.phases[1].begin, data.phases[1].end);
}

TEST(TimelineTest, CallsAreInTheLaneOfTheirThread) {
  Timeline timeline;
  Call(timeline, "KVM_IRQFD", 12);
  std::thread([&timeline] {
    Call(timeline, "epoll_wait");
    Call(timeline, "KVM_SIGNAL_MSI");
  }).join();
  const TimelineData data = timeline.Data();
  EXPECT_THAT(data.lanes, ElementsAre("guest", "exits", "VMM", "event loop"));
  ASSERT_THAT(data.events, SizeIs(3));
  EXPECT_EQ(data.events[0].lane, 2u);
  EXPECT_EQ(data.events[0].kind, TimelineKind::kCall);
  EXPECT_EQ(data.events[0].duration, 3000);
  EXPECT_EQ(data.events[0].detail, "KVM_IRQFD()");
  EXPECT_TRUE(data.events[0].failed);
  EXPECT_EQ(data.events[1].kind, TimelineKind::kWait);
  EXPECT_EQ(data.events[2].lane, 3u);
  EXPECT_FALSE(data.events[2].failed);
}

TEST(TimelineTest, AnExitBeginsWhereKvmRunEnded) {
  Timeline timeline;
  Call(timeline, "KVM_RUN");
  std::array<uint8_t, 4> data = {0x78, 0x56, 0x34, 0x12};
  timeline.OnExit(kvm::MmioExit{.address = memory::GuestAddress(0xe0002000),
                                .is_write = true,
                                .data = absl::MakeSpan(data)});
  const TimelineData recorded = timeline.Data();
  ASSERT_THAT(recorded.events, SizeIs(2));
  const TimelineEvent& run = recorded.events[0];
  const TimelineEvent& exit = recorded.events[1];
  EXPECT_EQ(exit.kind, TimelineKind::kExit);
  EXPECT_EQ(exit.begin, run.begin + run.duration);
  EXPECT_EQ(exit.detail, "MMIO write of 4 bytes at 0xe0002000, 0x12345678");
}

void Exit(Timeline& timeline, uint16_t port) {
  std::array<uint8_t, 1> data = {0};
  timeline.OnExit(kvm::IoExit{.port = port,
                              .width = 1,
                              .is_write = true,
                              .data = absl::MakeSpan(data)});
}

TEST(TimelineTest, KeepsTheFirstAndTheLastAndSaysWhatIsNotThere) {
  Timeline timeline(/*most_events=*/4);
  for (int i = 0; i < 10; ++i) Call(timeline, absl::StrCat("call", i));
  const TimelineData data = timeline.Data();
  std::vector<std::string> names;
  for (const TimelineEvent& event : data.events) names.push_back(event.name);
  EXPECT_THAT(names, ElementsAre("call0", "call1", "call8", "call9"));
  EXPECT_EQ(data.gap.left_out, 6u);
  EXPECT_GE(data.gap.begin, data.events[1].begin);
  EXPECT_LE(data.gap.begin, data.gap.end);
}

TEST(TimelineTest, AnOmittedExitJoinsTheRunsAroundIt) {
  Timeline timeline;
  Call(timeline, "KVM_RUN");
  timeline.OmitExit();
  Call(timeline, "KVM_RUN");
  timeline.OmitExit();
  Call(timeline, "KVM_RUN");
  Exit(timeline, 0x80);
  const TimelineData data = timeline.Data();
  ASSERT_THAT(data.events, SizeIs(2));
  EXPECT_EQ(data.events[0].name, "KVM_RUN");
  EXPECT_EQ(data.events[0].begin + data.events[0].duration,
            data.events[1].begin);
  EXPECT_EQ(data.events[1].kind, TimelineKind::kExit);
}

TEST(TimelineTest, AnOmittedExitDoesNotHideItsCalls) {
  Timeline timeline;
  Call(timeline, "KVM_RUN");
  Call(timeline, "write");
  timeline.OmitExit();
  Call(timeline, "KVM_RUN");
  std::vector<std::string> names;
  for (const TimelineEvent& event : timeline.Data().events) {
    names.push_back(event.name);
  }
  EXPECT_THAT(names, ElementsAre("KVM_RUN", "write", "KVM_RUN"));
}

TEST(TimelineTest, EachVcpuThreadHasLanesOfItsOwn) {
  Timeline timeline;
  std::thread([&timeline] {
    const Timeline::Time now = std::chrono::steady_clock::now();
    timeline.OnCall(journal::Call{.name = "KVM_RUN", .subject = "vcpu 1"},
                    "KVM_RUN", 0, now, now);
    Exit(timeline, 0x80);
  }).join();
  timeline.OnDevice("MSI-X 3", "0000:01:00.0 raised MSI-X 3");
  const TimelineData data = timeline.Data();
  EXPECT_THAT(data.lanes, ElementsAre("guest", "exits", "VMM", "vCPU 1 exits",
                                      "vCPU 1", "devices"));
  ASSERT_THAT(data.events, SizeIs(3));
  EXPECT_EQ(data.events[0].lane, 4u);
  EXPECT_EQ(data.events[1].lane, 3u);
  EXPECT_EQ(data.events[2].kind, TimelineKind::kInterrupt);
  EXPECT_EQ(data.events[2].lane, 5u);
}

TEST(TimelineTest, ThreadsWithoutEndShareALane) {
  Timeline timeline;
  absl::Notification done;
  constexpr int kThreads = 50;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&timeline, &done] {
      Call(timeline, "read");
      done.WaitForNotification();  // so that each has an identity of its own
    });
  }
  done.Notify();
  for (std::thread& thread : threads) thread.join();
  const TimelineData data = timeline.Data();
  EXPECT_THAT(data.lanes, SizeIs(40));
  EXPECT_EQ(data.lanes.back(), "other threads");
  EXPECT_THAT(data.events, SizeIs(50));
}

TEST(RecordingCpuTest, RecordsWhatTheGuestDoesButForItsMemory) {
  Timeline timeline;
  ScriptedCpu scripted;
  RecordingCpu cpu(&scripted, kRamSize, &timeline);
  cpu.Store(kRamSize - 8, 8, 1);
  EXPECT_EQ(cpu.Load(0, 4), 0x2au);
  EXPECT_THAT(timeline.Data().events, IsEmpty());
  EXPECT_EQ(cpu.Load(kRamSize, 4), 0x2au);
  cpu.Store(kRamSize, 1, 7);
  EXPECT_EQ(cpu.In(0x60, 1), 0x2bu);
  cpu.Out(0x60, 2, 5);
  EXPECT_TRUE(cpu.WaitForInterrupt().has_value());
  EXPECT_FALSE(cpu.WaitForInterrupt().has_value());
  EXPECT_FALSE(cpu.Stopping());
  std::vector<std::string> details;
  for (const TimelineEvent& event : timeline.Data().events) {
    EXPECT_EQ(event.lane, 0u);
    details.push_back(event.detail);
  }
  EXPECT_THAT(
      details,
      ElementsAre("load of 4 bytes at 0x10000, 0x2a",
                  "store of 1 byte at 0x10000, 0x7",
                  "in of 1 byte at 0x60, 0x2b", "out of 2 bytes at 0x60, 0x5",
                  "waits for an interrupt", "took 0xfee00000 data 0x41",
                  "waits for an interrupt"));
}

}  // namespace
}  // namespace passthru::vmm
