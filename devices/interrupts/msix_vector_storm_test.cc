// SPDX-License-Identifier: Apache-2.0
//
// Races interrupts with masks, message changes and function masks on other
// threads, and with the event loop on its own thread. No interrupt is lost or
// doubled.

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/log/check.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::interrupts {
namespace {

constexpr uint16_t kVectors = 4;
constexpr uint64_t kInterruptsPerVector = 1000;
constexpr uint32_t kCpus = 4;

// Encodes vector and CPU in the data, so that the tests can count deliveries
// per vector whichever message they were sent with.
pci::MsiMessage Message(uint16_t vector, uint32_t cpu) {
  return {.address = 0xfee00000 | cpu << 12,
          .data = 0x20u + vector * kCpus + cpu};
}

class MsixVectorStormTest : public ::testing::TestWithParam<bool> {
 protected:
  MsixVectorStormTest()
      : rig_({.vectors = kVectors,
              .dynamic = GetParam(),
              .check_invariants = false}),
        loop_(*kernel::EpollEventLoop::Create(rig_.syscalls())),
        router_(*GsiRouter::Create(
            {.table = &rig_, .base_routes = DefaultIrqchipRoutes()})),
        group_(MsixVectorGroup::Options{.vectors = kVectors,
                                        .syscalls = rig_.syscalls(),
                                        .host = &rig_,
                                        .router = router_.get(),
                                        .controller = &rig_,
                                        .loop = loop_.get(),
                                        .failures = &failures_,
                                        .name = "storm"}) {}

  uint64_t DeliveredTo(uint16_t vector) const {
    uint64_t count = 0;
    for (uint32_t cpu = 0; cpu < kCpus; ++cpu) {
      count += rig_.delivered_with(Message(vector, cpu).data);
    }
    return count;
  }

  // Acts as a device that raises an interrupt only after the last one arrived.
  // No two interrupts can coalesce, so each must arrive exactly once.
  void RunDevice(uint16_t vector) {
    for (uint64_t fired = 1; fired <= kInterruptsPerVector; ++fired) {
      CHECK(rig_.Fire(vector));
      while (DeliveredTo(vector) < fired) std::this_thread::yield();
    }
    --devices_running_;
  }

  void RunGuest(uint16_t vector) {
    std::minstd_rand random(vector + 1);
    uint32_t cpu = 0;
    while (devices_running_ > 0) {
      switch (random() % 4) {
        case 0:  // An affinity change, as Linux makes it.
          Set(vector, cpu, /*masked=*/true);
          cpu = random() % kCpus;
          Set(vector, cpu, /*masked=*/true);
          Set(vector, cpu, /*masked=*/false);
          break;
        case 1:  // An affinity change while unmasked.
          cpu = random() % kCpus;
          Set(vector, cpu, /*masked=*/false);
          break;
        case 2:
          Set(vector, cpu, /*masked=*/true);
          group_.Pending(pci::VectorIndex(0), kVectors);
          Set(vector, cpu, /*masked=*/false);
          break;
        case 3:
          std::this_thread::yield();
          break;
      }
    }
  }

  void Set(uint16_t vector, uint32_t cpu, bool masked) {
    group_.SetVector(pci::VectorIndex(vector), Message(vector, cpu), masked);
  }

  kernel::FailureLog failures_{"device"};
  fake::InterruptRig rig_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<GsiRouter> router_;
  MsixVectorGroup group_;
  std::atomic<int> devices_running_ = kVectors;
};

TEST_P(MsixVectorStormTest, NoInterruptIsLostOrDoubled) {
  ASSERT_TRUE(loop_->Start().ok());
  ASSERT_TRUE(group_.Enable(kVectors, /*function_masked=*/false).ok());
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0, /*masked=*/false);

  std::vector<std::thread> threads;
  for (uint16_t i = 0; i < kVectors; ++i) {
    threads.emplace_back([this, i] { RunDevice(i); });
    threads.emplace_back([this, i] { RunGuest(i); });
  }
  threads.emplace_back([this] {
    while (devices_running_ > 0) {
      group_.SetFunctionMask(true);
      std::this_thread::yield();
      group_.SetFunctionMask(false);
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  group_.Shutdown();
  loop_->Stop();

  for (uint16_t i = 0; i < kVectors; ++i) {
    EXPECT_EQ(DeliveredTo(i), kInterruptsPerVector) << "vector " << i;
  }
  EXPECT_EQ(rig_.lost(), 0u);
  EXPECT_EQ(rig_.irqfds(), 0u);
}

TEST_P(MsixVectorStormTest, DisableAndEnableInBetweenLoseNothingButThePast) {
  ASSERT_TRUE(loop_->Start().ok());
  for (uint16_t i = 0; i < kVectors; ++i) Set(i, 0, /*masked=*/false);
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> raised = 0;
  std::thread device([&] {
    // Interrupts have no effect while the group is disabled.
    while (!stop) {
      rig_.Fire(0);
      ++raised;
    }
  });
  for (int round = 0; round < 200; ++round) {
    ASSERT_TRUE(group_.Enable(kVectors, /*function_masked=*/false).ok());
    const uint64_t before = rig_.delivered();
    while (rig_.delivered() == before) std::this_thread::yield();
    ASSERT_TRUE(group_.Disable().ok());
    const uint64_t after = rig_.delivered();
    const uint64_t until = raised + 10;
    while (raised < until) std::this_thread::yield();
    ASSERT_EQ(rig_.delivered(), after);
  }
  stop = true;
  device.join();
  group_.Shutdown();
  EXPECT_EQ(rig_.lost(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Hosts, MsixVectorStormTest, ::testing::Bool(),
                         [](const auto& host) {
                           return host.param ? "Dynamic" : "Fixed";
                         });

}  // namespace
}  // namespace passthru::interrupts
