// SPDX-License-Identifier: Apache-2.0
//
// A device that outlives its VM, and threads that detach it at the same time.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/memory/layout_lock.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::PassthroughRig;

// A VM's lock that is refused from Close() on, as if the VM were destroyed.
// A thread that acquires it after Hold() waits for Release().
class VmLock final : public memory::LayoutLock {
 public:
  void Lock() override ABSL_NO_THREAD_SAFETY_ANALYSIS {
    EXPECT_FALSE(closed_) << "the lock of a VM that is gone";
    if (held_.exchange(false)) {
      acquiring_.Notify();
      released_.WaitForNotification();
    }
    mutex_.Lock();
  }
  void Unlock() override ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Unlock(); }

  void Close() { closed_ = true; }
  void Hold() { held_ = true; }
  void WaitUntilWanted() { acquiring_.WaitForNotification(); }
  void Release() { released_.Notify(); }

 private:
  absl::Mutex mutex_;
  std::atomic<bool> closed_ = false;
  std::atomic<bool> held_ = false;
  absl::Notification acquiring_;
  absl::Notification released_;
};

class VfioPciDetachTest : public ::testing::Test {
 protected:
  void Attach(const std::function<void()>& on_unplug_request = nullptr) {
    rig_ = std::make_unique<PassthroughRig>(PassthroughRig::Options{
        .edit_options = [this,
                         on_unplug_request](VfioPciDevice::Options& options) {
          options.vm.layout_lock = &lock_;
          options.on_unplug_request = on_unplug_request;
        }});
    ASSERT_THAT(rig_->Attach(), IsOk());
    rig_->PlaceBar(0, kBar);
  }
  size_t OpenFiles() {
    return rig_->host().vfio().Snapshot(rig_->bdf())->open_files;
  }

  VmLock lock_;
  std::unique_ptr<PassthroughRig> rig_;
};

TEST_F(VfioPciDetachTest, NothingOfTheVmIsUsedAfterwards) {
  Attach();
  const std::shared_ptr<VfioPciDevice> device = rig_->device_pointer();
  ASSERT_THAT(device->Detach(), IsOk());
  lock_.Close();
  rig_.reset();
  const std::vector<uint8_t> memory_on = {0x06, 0x00};
  device->ConfigWrite(0x04, memory_on);
  EXPECT_EQ(device->ConfigRead(0x00, 4), 0xffffffffu);
  EXPECT_THAT(device->SetBarAddress(pci::BarIndex(0), kBar),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(device->Reset(), StatusIs(absl::StatusCode::kFailedPrecondition));
  device->ReconcileBars();
  EXPECT_THAT(device->Detach(), IsOk());
}

TEST_F(VfioPciDetachTest, TheLastReportStays) {
  Attach();
  const std::shared_ptr<VfioPciDevice> device = rig_->device_pointer();
  ASSERT_THAT(device->Detach(), IsOk());
  lock_.Close();
  rig_.reset();
  const DeviceReport report = device->Describe();
  EXPECT_EQ(report.name, device->name());
  EXPECT_EQ(report.bar.placements, 1u);
  ASSERT_FALSE(report.bars.empty());
  EXPECT_FALSE(report.bars[0].placed);
}

// The other thread has claimed the detach and waits for the VM's lock.
TEST_F(VfioPciDetachTest, ASecondCallWaitsForTheFirst) {
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    VmLock lock;
    rig_ = std::make_unique<PassthroughRig>(PassthroughRig::Options{
        .edit_options = [&lock](VfioPciDevice::Options& options) {
          options.vm.layout_lock = &lock;
        }});
    ASSERT_THAT(rig_->Attach(), IsOk());
    lock.Hold();
    std::thread first([this] { EXPECT_THAT(rig_->device().Detach(), IsOk()); });
    lock.WaitUntilWanted();
    absl::Notification started;
    std::thread second([this, &started] {
      started.Notify();
      EXPECT_THAT(rig_->device().Detach(), IsOk());
      EXPECT_EQ(OpenFiles(), 0u) << "it returned before the device was closed";
    });
    started.WaitForNotification();
    lock.Release();
    first.join();
    second.join();
    rig_->device_pointer().reset();
    rig_.reset();
  }
}

// The first thread waits for the callback, so the callback must not wait for
// it.
TEST_F(VfioPciDetachTest, ACallFromACallbackDoesNotWait) {
  Attach([this] { EXPECT_THAT(rig_->device().Detach(), IsOk()); });
  lock_.Hold();
  std::thread first([this] { EXPECT_THAT(rig_->device().Detach(), IsOk()); });
  lock_.WaitUntilWanted();
  ASSERT_THAT(rig_->host().vfio().RequestRelease(rig_->bdf()), IsOk());
  rig_->RunLoop();
  EXPECT_EQ(OpenFiles(), 1u) << "the first thread has not gone on yet";
  lock_.Release();
  first.join();
  EXPECT_EQ(OpenFiles(), 0u);
}

// A thread that reports while another one detaches gets a report, and the
// detach waits until it has left the VM's lock alone.
TEST_F(VfioPciDetachTest, ReportsMayBeMadeMeanwhile) {
  Attach();
  lock_.Hold();
  std::thread reader([this] {
    EXPECT_EQ(rig_->device().Describe().name, rig_->device().name());
  });
  lock_.WaitUntilWanted();
  std::thread detach([this] {
    EXPECT_THAT(rig_->device().Detach(), IsOk());
    lock_.Close();
  });
  lock_.Release();
  reader.join();
  detach.join();
}

}  // namespace
}  // namespace passthru::vfio_pci
