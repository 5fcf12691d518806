// SPDX-License-Identifier: Apache-2.0
//
// Tests a machine under many concurrent activities. Two vCPUs take a device's
// interrupts. A third masks and unmasks its vectors. A fourth moves its BARs,
// switches its decode and sets its function mask. The device raises interrupts
// on a thread of its own, the event loop runs, and the test unplugs and
// attaches again either this device or another one.
//
// The test finds data races (with --config=tsan), deadlocks, and interrupts
// that are lost or doubled. The device raises a vector again only after the
// guest took its last interrupt, so that two interrupts never merge. The guest
// must then take each interrupt exactly once. At no time has it taken a vector
// more often than the device raised it, and the last interrupt always arrives.
// An unplug may lose only the interrupt of each vector that is in flight.

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;

constexpr pci::Bdf kStormNvme(0, 1, 0, 0);
constexpr pci::Bdf kStormEdu(0, 2, 0, 0);
constexpr unsigned kVcpus = 4;
constexpr unsigned kTakers = 2;  // vCPUs 0 and 1
constexpr uint16_t kVectors = 4;
constexpr uint32_t kFirstData = 0x40;

// Returns the address of messages to the local APIC of one of the takers.
constexpr uint64_t MessageAddress(uint16_t vector) {
  return 0xfee00000 | (vector % kTakers) << 12;
}

// Offsets in the configuration space and in BAR 0 of the captured NVMe
// controller.
constexpr uint64_t kMsixControl = 0x42;
constexpr uint64_t kTable = 0x2000;
constexpr uint64_t kPendingBits = 0x3000;

constexpr uint64_t kPlaces[] = {kMmio64Base + 0x1000000,
                                kMmio64Base + 0x2000000};

class MachineStormTest : public ::testing::TestWithParam<bool> {
 protected:
  MachineStormTest() {
    host_.kernel().journal().set_keep_entries(false);
    AddDevice("testing/fixtures/nvme.textproto", kStormNvme, 1);
    AddDevice("testing/fixtures/edu.textproto", kStormEdu, 2);
    machine_ = *Machine::Create({.syscalls = &host_.kernel(),
                                 .ram_size = uint64_t{1} << 20,
                                 .vcpu_count = kVcpus});
    devices_ = *DeviceManager::Create(machine_.get());
    // The guest depends on the slots that result from this order.
    slot_ = *devices_->Attach(kStormNvme);
    edu_slot_ = *devices_->Attach(kStormEdu);
    for (unsigned id = 0; id < kVcpus; ++id) {
      host_.kernel().kvm().SetGuestProgram(
          id, [this, id](guest::GuestCpu& cpu) { return RunGuest(id, cpu); });
    }
    for (unsigned id = 0; id < kVcpus; ++id) {
      threads_.emplace_back([this, id] {
        VcpuRunner runner(
            {.vcpu = &machine_->vcpu(id),
             .mmio = &machine_->mmio(),
             .pio = &machine_->pio(),
             .on_memory_fault = [this] { devices_->OnMemoryFault(); }});
        EXPECT_THAT(runner.Run(), IsOk());
      });
    }
    AwaitProgrammed();
    threads_.emplace_back([this] { RunDevice(); });
  }

  ~MachineStormTest() override {
    stop_ = true;
    host_.kernel().kvm().StopGuests();
    for (std::thread& thread : threads_) thread.join();
  }

  void AddDevice(const char* fixture, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    CHECK_OK(host_.AddFixture(fixture, std::move(options)));
  }

  // --- The guest.

  absl::Status RunGuest(unsigned id, guest::GuestCpu& cpu) {
    if (id < kTakers) {
      while (const auto interrupt = cpu.WaitForInterrupt()) {
        const uint32_t vector = interrupt->data - kFirstData;
        if (vector < kVectors) ++taken_[vector];
      }
      return absl::OkStatus();
    }
    while (!cpu.Stopping()) {
      id == kTakers ? MaskVectors(cpu) : MoveBars(cpu);
    }
    return absl::OkStatus();
  }

  uint64_t Config(uint64_t offset) const {
    return kEcamBase + (uint64_t{slot_.device()} << 15) + offset;
  }

  // Programs and unmasks the vectors at the BAR's address. Meanwhile another
  // vCPU may move the BAR, and the test may unplug the device.
  void MaskVectors(guest::GuestCpu& cpu) {
    cpu.Store(Config(kMsixControl), 2, 0x8000);
    for (uint16_t i = 0; i < kVectors; ++i) {
      const uint64_t low = cpu.Load(Config(0x10), 4);
      const uint64_t high = cpu.Load(Config(0x14), 4);
      if (low == 0xffffffff) return;
      const uint64_t bar = high << 32 | (low & ~uint64_t{0xf});
      const uint64_t entry = bar + kTable + 16 * i;
      cpu.Store(entry + 12, 4, 1);
      cpu.Store(entry, 4, MessageAddress(i));
      cpu.Store(entry + 4, 4, 0);
      cpu.Store(entry + 8, 4, kFirstData + i);
      cpu.Load(bar + kPendingBits, 8);
      cpu.Store(entry + 12, 4, 0);
    }
  }

  void MoveBars(guest::GuestCpu& cpu) {
    const uint64_t place = kPlaces[moves_++ % std::size(kPlaces)];
    cpu.Store(Config(0x10), 4, place & 0xffffffff);
    cpu.Store(Config(0x14), 4, place >> 32);
    cpu.Store(Config(0x04), 2, 0x6);
    // The guest usually reaches this register without an exit.
    cpu.Load(place + 8, 4);
    if (moves_ % 4 == 0) cpu.Store(Config(0x04), 2, 0x4);
    if (moves_ % 8 == 0) cpu.Store(Config(kMsixControl), 2, 0xc000);
  }

  // --- The device.

  void RunDevice() {
    for (uint16_t i = 0; !stop_; i = (i + 1) % kVectors) {
      std::this_thread::yield();
      absl::MutexLock lock(&raise_mutex_);
      if (taken_[i] > raised_[i])
        ADD_FAILURE() << "vector " << i << " came twice";
      if (taken_[i] != raised_[i]) continue;
      ++raised_[i];
      CHECK_OK(host_.vfio().WithHardware(
          kStormNvme,
          [i](models::DevicePlatform& device) { device.RaiseMsix(i); }));
    }
  }

  // --- The test.

  uint64_t Taken() const {
    uint64_t sum = 0;
    for (const auto& taken : taken_) sum += taken;
    return sum;
  }

  // Waits until `condition` holds and returns true, or false after a deadline,
  // which only a failing test reaches.
  static bool Await(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + absl::Minutes(3);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  // Waits until the guest has programmed and unmasked all vectors with their
  // whole messages. If the BAR moves meanwhile, the guest may unmask an entry
  // that is only half written. The device must raise no interrupt before.
  void AwaitProgrammed() {
    EXPECT_TRUE(Await([this] {
      // A device that does not master the bus sends no message.
      if (!host_.vfio().Snapshot(kStormNvme)->bus_master) return false;
      const auto report = devices_->Find(slot_)->Describe();
      const auto& vectors = report.vector_groups.back().vectors;
      for (uint16_t i = 0; i < kVectors; ++i) {
        if (vectors[i].state == interrupts::VectorState::kOff ||
            vectors[i].message != pci::MsiMessage{.address = MessageAddress(i),
                                                  .data = kFirstData + i}) {
          return false;
        }
      }
      return true;
    }));
  }

  // Waits until the guest has taken each vector `count` times more.
  bool AwaitInterrupts(uint64_t count) {
    std::array<uint64_t, kVectors> goal;
    for (uint16_t i = 0; i < kVectors; ++i) goal[i] = taken_[i] + count;
    return Await([&] {
      for (uint16_t i = 0; i < kVectors; ++i) {
        if (taken_[i] < goal[i]) return false;
      }
      return true;
    });
  }

  // Waits until the vCPUs have taken every message that was sent to them, after
  // an unplug, and then forgets the interrupts that the unplug lost, at most
  // one of each vector.
  void WriteOff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(raise_mutex_) {
    ASSERT_TRUE(Await(
        [this] { return host_.kernel().kvm().Messages().size() == Taken(); }));
    for (uint16_t i = 0; i < kVectors; ++i) {
      ASSERT_LE(taken_[i], raised_[i]) << "vector " << i << " came twice";
      raised_[i] = taken_[i];
    }
  }

  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  pci::Bdf slot_;
  pci::Bdf edu_slot_;

  std::atomic<bool> stop_ = false;
  uint64_t moves_ = 0;  // Only the program on the last vCPU uses this.
  std::array<std::atomic<uint64_t>, kVectors> taken_ = {};
  absl::Mutex raise_mutex_;
  std::array<uint64_t, kVectors> raised_ ABSL_GUARDED_BY(raise_mutex_) = {};
  std::vector<std::thread> threads_;
};

TEST_P(MachineStormTest, EachInterruptIsTakenOnce) {
  const bool unplug_itself = GetParam();
  constexpr int kRounds = 6;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(AwaitInterrupts(5)) << "an interrupt was lost";
    const pci::Bdf slot = unplug_itself ? slot_ : edu_slot_;
    // All other activities go on meanwhile.
    ASSERT_THAT(devices_->Detach(slot), IsOk());
    if (!unplug_itself) {
      ASSERT_TRUE(AwaitInterrupts(2)) << "an interrupt was lost";
      EXPECT_THAT(devices_->Attach(kStormEdu), IsOkAndHolds(slot));
      continue;
    }
    // The device raises no interrupt until the guest has found it again.
    absl::MutexLock lock(&raise_mutex_);
    WriteOff();
    ASSERT_THAT(devices_->Attach(kStormNvme), IsOkAndHolds(slot));
    AwaitProgrammed();
  }
  ASSERT_TRUE(AwaitInterrupts(5)) << "an interrupt was lost";
  {
    absl::MutexLock lock(&raise_mutex_);
    for (uint16_t i = 0; i < kVectors; ++i) {
      EXPECT_LE(taken_[i], raised_[i]) << "vector " << i << " came twice";
    }
    // The last interrupts arrive too, because the guest goes on unmasking.
    EXPECT_TRUE(Await([this] {
      raise_mutex_.AssertHeld();
      for (uint16_t i = 0; i < kVectors; ++i) {
        if (taken_[i] != raised_[i]) return false;
      }
      return true;
    })) << "an interrupt was lost";
    EXPECT_EQ(host_.kernel().kvm().Messages().size(), Taken());
  }
  EXPECT_EQ(host_.kernel().kvm().LostInterrupts(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Unplug, MachineStormTest, ::testing::Bool(),
                         [](const auto& unplugs_itself) {
                           return unplugs_itself.param ? "Itself" : "Another";
                         });

}  // namespace
}  // namespace passthru::vmm
