// SPDX-License-Identifier: Apache-2.0

// Adds and removes ranges of a Bus while vCPUs use it. The tests find most
// under the thread and address sanitizers, because they destroy what a device
// needs after its removal and do not synchronize that with the vCPUs.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::bus {
namespace {

// Needs `resource` while it is called. `resource` is neither atomic nor locked.
class NeedyDevice final : public BusDevice {
 public:
  explicit NeedyDevice(uint8_t value)
      : resource(std::make_unique<uint8_t>(value)) {}

  std::string_view name() const override { return "needy"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t> data) override {
    for (uint8_t& byte : data) byte = *resource;
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t> data) override {
    return data[0] == *resource ? absl::OkStatus()
                                : absl::InternalError("not my value");
  }

  std::unique_ptr<uint8_t> resource;
};

TEST(BusConcurrencyTest, WhatADeviceNeedsMayGoOnceItsRangeIsRemoved) {
  constexpr int kReaders = 3;
  constexpr int kRounds = 100;
  Bus bus("mmio");
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> hits = 0;
  std::vector<std::thread> readers;
  readers.reserve(kReaders);
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        uint8_t data[2] = {};
        bus.Read(0x1000, absl::MakeSpan(data));
        if (data[0] == 0xff) continue;
        ++hits;
        EXPECT_EQ(data[0], 0x42);
        const uint8_t out[1] = {0x42};
        bus.Write(0x1001, out);
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    const auto device = std::make_shared<NeedyDevice>(0x42);
    const RangeHandle handle = bus.Add(0x1000, 0x10, device, 0).value();
    const uint64_t before = hits;
    while (hits == before) std::this_thread::yield();
    bus.Remove(handle);
    device->resource.reset();
    EXPECT_EQ(device.use_count(), 1);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(bus.stats().failures, 0u);
}

// Blocks in Read() until let_go.
class BlockingDevice final : public BusDevice {
 public:
  std::string_view name() const override { return "blocking"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t> data) override {
    entered.Notify();
    let_go.WaitForNotification();
    data[0] = 0x55;
    left = true;
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }

  absl::Notification entered;
  absl::Notification let_go;
  bool left = false;
};

TEST(BusConcurrencyTest, RemovalTakesEffectAtOnceAndWaitsForCallsInFlight) {
  Bus bus("mmio");
  const auto device = std::make_shared<BlockingDevice>();
  const RangeHandle handle = bus.Add(0x1000, 0x10, device, 0).value();
  uint8_t data[1] = {};
  std::thread vcpu([&] { bus.Read(0x1000, absl::MakeSpan(data)); });
  device->entered.WaitForNotification();
  bool left_before_removal_ended = false;
  std::thread remover([&] {
    bus.Remove(handle);
    left_before_removal_ended = device->left;
  });
  // New accesses miss while the old one is still inside.
  while (bus.stats().misses == 0) {
    bus.Write(0x1000, absl::Span<const uint8_t>({0}));
    std::this_thread::yield();
  }
  device->let_go.Notify();
  remover.join();
  vcpu.join();
  EXPECT_TRUE(left_before_removal_ended);
  EXPECT_EQ(data[0], 0x55);
}

TEST(BusConcurrencyTest, ABlockedDeviceHoldsUpNobodyElse) {
  Bus bus("mmio");
  const auto blocked = std::make_shared<BlockingDevice>();
  ASSERT_TRUE(bus.Add(0x1000, 0x10, blocked, 0).ok());
  std::thread vcpu([&] {
    uint8_t data[1];
    bus.Read(0x1000, absl::MakeSpan(data));
  });
  blocked->entered.WaitForNotification();
  // Another device, the same device and the list of ranges stay usable.
  const RangeHandle other =
      bus.Add(0x2000, 0x10, std::make_shared<NeedyDevice>(7), 0).value();
  uint8_t data[1] = {};
  bus.Read(0x2000, absl::MakeSpan(data));
  EXPECT_EQ(data[0], 7);
  bus.Write(0x1000, data);
  EXPECT_EQ(bus.stats().misses, 0u);
  bus.Remove(other);
  blocked->let_go.Notify();
  vcpu.join();
}

// Read() returns only when all callers are inside at once. Otherwise the test
// does not end.
class MeetingDevice final : public BusDevice {
 public:
  explicit MeetingDevice(int callers) : barrier_(new absl::Barrier(callers)) {}

  std::string_view name() const override { return "meeting"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t>) override {
    if (barrier_->Block()) delete barrier_;
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }

 private:
  absl::Barrier* const barrier_;
};

TEST(BusConcurrencyTest, SeveralThreadsMayBeInOneDevice) {
  constexpr int kCallers = 4;
  Bus bus("mmio");
  ASSERT_TRUE(
      bus.Add(0x1000, 0x10, std::make_shared<MeetingDevice>(kCallers), 0).ok());
  std::vector<std::thread> callers;
  callers.reserve(kCallers);
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&bus] {
      uint8_t data[1];
      bus.Read(0x1000, absl::MakeSpan(data));
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(bus.stats().reads, uint64_t{kCallers});
}

TEST(BusConcurrencyTest, RangesOfManyThreadsDoNotDisturbEachOther) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 100;
  Bus bus("mmio");
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&bus, t] {
      const uint64_t base = 0x1000 * static_cast<uint64_t>(t + 1);
      const uint8_t value = static_cast<uint8_t>(t);
      for (int round = 0; round < kRounds; ++round) {
        const RangeHandle handle =
            bus.Add(base, 0x10, std::make_shared<NeedyDevice>(value), 0)
                .value();
        uint8_t data[1] = {0xee};
        bus.Read(base, absl::MakeSpan(data));
        EXPECT_EQ(data[0], value);
        bus.Remove(handle);
        bus.Read(base, absl::MakeSpan(data));
        EXPECT_EQ(data[0], 0xff);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace passthru::bus
