// SPDX-License-Identifier: Apache-2.0
//
// What a guest access costs on its way through a passed-through device. It
// allocates no memory, and it waits neither for a lock of the device nor for a
// kernel call that another access makes.

#include <linux/vfio.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status_matchers.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/rig/allocation_counter.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using fake::CountAllocations;
using fake::PassthroughRig;

using fake::kBar;
using fake::kNvmePba;
using fake::kNvmeTable;

constexpr uint64_t kTrapped = kNvmeTable + 0x800;  // in the table's page

enum class CallKind { kNone, kPread, kPwrite, kSetIrqs };

// Holds one call back until the test releases it. Can also answer the calls of
// plain accesses by itself, because the simulated kernel allocates memory for
// its journal.
class HeldCalls final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  // Holds the next call of `kind`.
  void HoldNext(CallKind kind) { hold_ = kind; }
  void WaitUntilHeld() { held_.WaitForNotification(); }
  void Release() { release_.Notify(); }
  void AnswerAccesses(bool answer) { answers_ = answer; }

  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override {
    Hold(CallKind::kPread);
    if (answers_) {
      std::fill_n(static_cast<uint8_t*>(buffer), count, uint8_t{0x5a});
      return {.value = count};
    }
    return ForwardingSyscalls::Pread(fd, buffer, count, offset);
  }
  kernel::SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                                       uint64_t offset) override {
    Hold(CallKind::kPwrite);
    if (answers_) return {.value = count};
    return ForwardingSyscalls::Pwrite(fd, buffer, count, offset);
  }
  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* arg) override {
    if (request == VFIO_DEVICE_SET_IRQS) Hold(CallKind::kSetIrqs);
    return ForwardingSyscalls::Ioctl(fd, request, arg);
  }
  kernel::SyscallResult<int> Poll(pollfd* fds, nfds_t count,
                                  int timeout_ms) override {
    if (!answers_) return ForwardingSyscalls::Poll(fds, count, timeout_ms);
    return {.value = ::poll(fds, count, timeout_ms)};  // Real eventfds.
  }

 private:
  void Hold(CallKind kind) {
    if (!hold_.compare_exchange_strong(kind, CallKind::kNone)) return;
    held_.Notify();
    release_.WaitForNotification();
  }

  std::atomic<CallKind> hold_ = CallKind::kNone;
  std::atomic<bool> answers_ = false;
  absl::Notification held_;
  absl::Notification release_;
};

class VfioPciAccessPathTest : public ::testing::Test {
 protected:
  VfioPciAccessPathTest() {
    EXPECT_THAT(rig_.Attach(), IsOk());
    rig_.PlaceBar(0, kBar);
    rig_.SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  }

  // Runs `access` on another thread, and `meanwhile` here while its call of
  // `kind` is held in the kernel. If `meanwhile` waits for it, the test hangs.
  void While(CallKind kind, const std::function<void()>& access,
             const std::function<void()>& meanwhile) {
    calls_->HoldNext(kind);
    std::thread other(access);
    calls_->WaitUntilHeld();
    meanwhile();
    calls_->Release();
    other.join();
  }
  void ExpectShadowedReads() {
    EXPECT_EQ(rig_.Read(0x00, 4), 0x00101b36u);
    EXPECT_EQ(rig_.Read(0x10, 4), kBar | 0x4);
    EXPECT_EQ(rig_.Read(0x34, 1), 0x40u);
    EXPECT_EQ(rig_.Read(0x40, 1), 0x11u);
  }

  HeldCalls* calls_ = nullptr;
  PassthroughRig rig_{{.wrap_calls = [this](kernel::Syscalls* kernel) {
    auto calls = std::make_unique<HeldCalls>(kernel);
    calls_ = calls.get();
    return calls;
  }}};
};

TEST_F(VfioPciAccessPathTest, TheCounterCounts) {
  EXPECT_EQ(CountAllocations([] { delete new int; }), 1);
}

TEST_F(VfioPciAccessPathTest, AShadowedReadAllocatesNothing) {
  calls_->AnswerAccesses(true);  // STATUS is the device's.
  uint32_t value = 0;
  EXPECT_EQ(CountAllocations([&] {
              for (uint16_t at = 0; at < 0x40; at += 4) {
                value |= rig_.device().ConfigRead(at, 4);
              }
            }),
            0);
  calls_->AnswerAccesses(false);
  EXPECT_NE(value, 0u);
}

TEST_F(VfioPciAccessPathTest, ATrappedBarAccessAllocatesNothing) {
  calls_->AnswerAccesses(true);
  uint64_t value = 0;
  EXPECT_EQ(CountAllocations([&] {
              value = rig_.Load(kTrapped, 8);
              rig_.Store(kTrapped, 4, 1);
            }),
            0);
  calls_->AnswerAccesses(false);
  EXPECT_EQ(value, 0x5a5a5a5a5a5a5a5au);
}

TEST_F(VfioPciAccessPathTest, AnAccessToTheTableAllocatesNothing) {
  rig_.WriteVector(0, 0x30, /*masked=*/false);
  rig_.Store(kNvmeTable + 12, 4, 1);
  uint64_t value = 0;
  EXPECT_EQ(CountAllocations([&] {
              rig_.Store(kNvmeTable + 8, 4, 0x44);
              rig_.Store(kNvmeTable + 16 + 8, 8, 0x100000045);
              value = rig_.Load(kNvmeTable + 8, 8);
            }),
            0);
  EXPECT_EQ(value, 0x100000044u);
}

TEST_F(VfioPciAccessPathTest, AReadOfThePendingBitsAllocatesNothing) {
  rig_.WriteVector(2, 0x32, /*masked=*/false);
  rig_.Store(kNvmeTable + 2 * 16 + 12, 4, 1);
  rig_.RaiseMsix(2);
  calls_->AnswerAccesses(true);
  uint64_t pending = 0;
  EXPECT_EQ(CountAllocations([&] { pending = rig_.Load(kNvmePba, 8); }), 0);
  calls_->AnswerAccesses(false);
  EXPECT_EQ(pending, 0x4u);
}

TEST_F(VfioPciAccessPathTest, AShadowedReadDoesNotWaitForAReadOfTheDevice) {
  While(
      CallKind::kPread, [this] { rig_.Read(0x06, 2); },
      [this] { ExpectShadowedReads(); });
}

// The write of COMMAND holds the layout lock too.
TEST_F(VfioPciAccessPathTest, AShadowedReadDoesNotWaitForAWriteToTheDevice) {
  While(
      CallKind::kPwrite, [this] { rig_.Write(0x04, 2, 0x6); },
      [this] { ExpectShadowedReads(); });
}

TEST_F(VfioPciAccessPathTest, AShadowedReadDoesNotWaitForInterrupts) {
  While(
      CallKind::kSetIrqs,
      [this] {
        rig_.SetMsixControl(/*enable=*/false, /*function_mask=*/false);
      },
      [this] {
        ExpectShadowedReads();
        EXPECT_EQ(rig_.Read(0x42, 2) & 0x8000, 0u);
      });
}

TEST_F(VfioPciAccessPathTest, AReadOfTheTableDoesNotWaitForInterrupts) {
  While(
      CallKind::kSetIrqs,
      [this] { rig_.WriteVector(0, 0x30, /*masked=*/false); },
      [this] {
        EXPECT_EQ(rig_.Load(kNvmeTable + 8, 4), 0x30u);
        EXPECT_EQ(rig_.Load(kNvmeTable + 12, 4), 0u);
      });
}

// The other thread holds the layout lock and the device's control mutex.
TEST_F(VfioPciAccessPathTest, ATrappedAccessTakesNoLockOfTheDevice) {
  While(
      CallKind::kPwrite, [this] { rig_.Write(0x04, 2, 0x6); },
      [this] {
        rig_.Store(kTrapped, 4, 0x1234);
        EXPECT_EQ(rig_.Load(kTrapped, 4), rig_.Load(kTrapped, 4));
      });
}

// The other thread holds the mutexes of the interrupts.
TEST_F(VfioPciAccessPathTest, ATrappedAccessTakesNoLockOfTheInterrupts) {
  While(
      CallKind::kSetIrqs,
      [this] { rig_.WriteVector(0, 0x30, /*masked=*/false); },
      [this] { rig_.Store(kTrapped, 4, 0x1234); });
}

TEST_F(VfioPciAccessPathTest, ATrappedAccessDoesNotWaitForAnother) {
  While(
      CallKind::kPread, [this] { rig_.Load(kTrapped, 4); },
      [this] { rig_.Load(kTrapped, 4); });
}

}  // namespace
}  // namespace passthru::vfio_pci
