// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/call_gate.h"

#include <memory>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace passthru::bus {
namespace {

TEST(CallGateTest, AnEmptyGateIsNotWaitedFor) {
  CallGate gate;
  EXPECT_EQ(gate.WaitForOthers(), 0);
}

TEST(CallGateTest, ACallThatEndedIsNotWaitedFor) {
  CallGate gate;
  {
    CallGate::Call call;
    call.Enter(gate);
  }
  EXPECT_EQ(gate.WaitForOthers(), 0);
}

TEST(CallGateTest, ACallThatNeverEnteredIsNone) {
  CallGate gate;
  { CallGate::Call call; }
  EXPECT_EQ(gate.WaitForOthers(), 0);
}

TEST(CallGateTest, TheCallersOwnCallsAreNotWaitedFor) {
  CallGate gate;
  CallGate other;
  CallGate::Call outermost;
  outermost.Enter(gate);
  CallGate::Call between;
  between.Enter(other);
  CallGate::Call innermost;
  innermost.Enter(gate);
  EXPECT_EQ(gate.WaitForOthers(), 2);
  EXPECT_EQ(other.WaitForOthers(), 1);
}

TEST(CallGateTest, OnlyTheCallsStillOpenAreOwn) {
  CallGate gate;
  CallGate::Call outer;
  outer.Enter(gate);
  {
    CallGate::Call inner;
    inner.Enter(gate);
  }
  EXPECT_EQ(gate.WaitForOthers(), 1);
}

// `left` is not atomic, so a gate that does not order the end of the call
// before the return of the wait also causes a data race.
TEST(CallGateTest, WaitsForTheCallsOfOtherThreads) {
  for (int round = 0; round < 200; ++round) {
    CallGate gate;
    bool left = false;
    absl::Notification entered;
    absl::Notification waiting;
    std::thread caller([&] {
      CallGate::Call call;
      call.Enter(gate);
      entered.Notify();
      waiting.WaitForNotification();
      left = true;
    });
    entered.WaitForNotification();
    waiting.Notify();
    EXPECT_EQ(gate.WaitForOthers(), 0);
    EXPECT_TRUE(left);
    caller.join();
  }
}

TEST(CallGateTest, WaitsForOthersFromWithinACallOfItsOwn) {
  for (int round = 0; round < 200; ++round) {
    CallGate gate;
    bool left = false;
    absl::Notification entered;
    absl::Notification waiting;
    std::thread caller([&] {
      CallGate::Call call;
      call.Enter(gate);
      entered.Notify();
      waiting.WaitForNotification();
      left = true;
    });
    entered.WaitForNotification();
    CallGate::Call own;
    own.Enter(gate);
    waiting.Notify();
    EXPECT_EQ(gate.WaitForOthers(), 1);
    EXPECT_TRUE(left);
    caller.join();
  }
}

// What a table holds of a device. It says which thread destroyed it.
struct GateEntry {
  explicit GateEntry(std::thread::id* by) : destroyed_by(by) {}
  ~GateEntry() { *destroyed_by = std::this_thread::get_id(); }

  std::thread::id* const destroyed_by;
  CallGate gate;
};

TEST(CallGateTest, AnEntryWithoutCallsIsDroppedAtOnce) {
  std::thread::id destroyed_by;
  auto entry = std::make_shared<GateEntry>(&destroyed_by);
  CallGate& gate = entry->gate;
  gate.DropAfterCalls(std::move(entry));
  EXPECT_EQ(destroyed_by, std::this_thread::get_id());
}

TEST(CallGateTest, TheOutermostOfTheCallersOwnCallsDropsTheEntry) {
  std::thread::id destroyed_by;
  auto entry = std::make_shared<GateEntry>(&destroyed_by);
  CallGate& gate = entry->gate;
  CallGate other;
  CallGate::Call around;
  around.Enter(other);
  {
    CallGate::Call outermost;
    outermost.Enter(gate);
    {
      CallGate::Call between;
      between.Enter(other);
      CallGate::Call innermost;
      innermost.Enter(gate);
      gate.DropAfterCalls(std::move(entry));
    }
    EXPECT_EQ(destroyed_by, std::thread::id()) << "a call is in the gate";
  }
  EXPECT_EQ(destroyed_by, std::this_thread::get_id());
}

// A call that ends uses nothing of the gate that its remover may have destroyed
// by then. AddressSanitizer and ThreadSanitizer see if it does.
TEST(CallGateTest, AnEntryIsDroppedByItsRemoverOnly) {
  for (int round = 0; round < 200; ++round) {
    std::thread::id destroyed_by;
    auto entry = std::make_shared<GateEntry>(&destroyed_by);
    CallGate& gate = entry->gate;
    absl::Notification entered;
    std::thread caller([&] {
      CallGate::Call call;
      call.Enter(gate);
      entered.Notify();
    });
    entered.WaitForNotification();
    gate.DropAfterCalls(std::move(entry));
    EXPECT_EQ(destroyed_by, std::this_thread::get_id());
    caller.join();
  }
}

TEST(CallGateDeathTest, ACallEntersOneGate) {
  CallGate gate;
  CallGate::Call call;
  call.Enter(gate);
  EXPECT_DEATH(call.Enter(gate), "enters one gate");
}

}  // namespace
}  // namespace passthru::bus
