// SPDX-License-Identifier: Apache-2.0
//
// A passed-through device under interrupts, masks, message changes,
// configuration accesses, BAR moves, trapped accesses and reports at once, with
// an unplug in the middle. The test finds data races (tsan) and deadlocks.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using fake::kBar;
using fake::PassthroughRig;

constexpr uint16_t kVectors = 4;

class VfioPciStormTest : public ::testing::Test {
 protected:
  VfioPciStormTest() {
    rig_.kernel().journal().set_keep_entries(false);
    EXPECT_THAT(rig_.Attach(), IsOk());
    rig_.PlaceBar(0, kBar);
    rig_.SetMsixControl(/*enable=*/true, /*function_mask=*/false);
    for (uint16_t i = 0; i < kVectors; ++i) {
      rig_.WriteVector(i, 0x30 + i, /*masked=*/false);
    }
    EXPECT_THAT(rig_.loop().Start(), IsOk());
  }
  ~VfioPciStormTest() override { rig_.loop().Stop(); }

  void Raise(uint16_t vector) {
    ASSERT_THAT(
        rig_.host().vfio().WithHardware(
            rig_.bdf(),
            [vector](models::DevicePlatform& host) { host.RaiseMsix(vector); }),
        IsOk());
  }
  void Start(std::function<void()> body) {
    threads_.emplace_back([this, body = std::move(body)] {
      while (!stop_) body();
    });
  }
  void Stop() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  PassthroughRig rig_;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

TEST_F(VfioPciStormTest, EachInterruptArrivesOnceWhileMasksAndMessagesChange) {
  constexpr size_t kRounds = 60;
  for (uint16_t i = 0; i < kVectors; ++i) {
    Start([this, i] {
      const uint64_t entry = kBar + 0x2000 + 16u * i;
      rig_.Store(entry + 12, 4, 1);
      rig_.Store(entry + 8, 4, 0x30u + i);
      rig_.Load(kBar + 0x3000, 8);
      rig_.Store(entry + 12, 4, 0);
    });
  }
  Start([this] {
    rig_.SetMsixControl(true, true);
    rig_.SetMsixControl(true, false);
  });
  auto& kvm = rig_.kernel().kvm();
  for (size_t round = 1; round <= kRounds; ++round) {
    const auto vector = static_cast<uint16_t>(round % kVectors);
    Raise(vector);
    while (kvm.Messages().size() < round) std::this_thread::yield();
  }
  Stop();
  rig_.device().Detach().IgnoreError();
  EXPECT_EQ(kvm.Messages().size(), kRounds);
  EXPECT_EQ(kvm.LostInterrupts(), 0u);
}

// A guest puts the function to sleep while another vCPU is in its BAR.
TEST_F(VfioPciStormTest, PowerStatesChangeUnderAccesses) {
  const auto power = static_cast<uint16_t>(rig_.FindCapability(0x01) + 4);
  std::atomic<int> accesses = 0;
  Start([this, &accesses] {
    rig_.Load(kBar + 8, 4);
    rig_.Load(kBar + 0x2000, 8);
    rig_.Store(kBar + 0x2008, 4, 0x30);
    ++accesses;
  });
  for (int round = 0; round < 30; ++round) {
    for (const uint32_t state : {1u, 2u, 3u, 0u}) {
      rig_.Write(power, 2, state);
      const int before = accesses;
      while (accesses == before) std::this_thread::yield();
    }
  }
  Stop();
  EXPECT_EQ(rig_.Read(power, 2) & 3, 0u);
  EXPECT_EQ(rig_.Slots().size(), 1u);
  EXPECT_EQ(rig_.Load(kBar + 8, 4), 0x00010400u);
  EXPECT_EQ(rig_.device().Describe().failure_count, 0u);
}

TEST_F(VfioPciStormTest, UnplugInTheMiddleOfEverything) {
  std::atomic<int> accesses = 0;
  Start([this] {
    rig_.Write(0x10, 4, 0xd0000000);
    rig_.Write(0x10, 4, kBar);
  });
  Start([this] {
    rig_.Write(0x04, 2, 0x0);
    rig_.Write(0x04, 2, 0x6);
  });
  Start([this, &accesses] {
    rig_.Load(kBar + 8, 4);
    rig_.Load(kBar + 0x2000, 8);
    ++accesses;
  });
  Start([this] { rig_.Read(0x04, 4); });
  Start([this] { ToLines(rig_.device().Describe()); });
  Start([this] {
    rig_.SetMsixControl(false, false);
    rig_.SetMsixControl(true, false);
  });
  Start([this] { Raise(1); });
  while (accesses < 20) std::this_thread::yield();
  EXPECT_THAT(rig_.device().Detach(), IsOk());
  const int before = accesses;
  while (accesses < before + 5) std::this_thread::yield();
  Stop();
  EXPECT_TRUE(rig_.Slots().empty());
  EXPECT_EQ(rig_.host().vfio().Snapshot(rig_.bdf())->open_files, 0u);
}

}  // namespace
}  // namespace passthru::vfio_pci
