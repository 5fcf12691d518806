// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/device_events.h"

#include <cerrno>
#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::Gt;

class DeviceEventTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<DeviceEvent>> Create() {
    return DeviceEvent::Create(
        &syscalls_, loop_.get(),
        [this](int fd) {
          fds_.push_back(fd);
          return fail_ ? kernel::ErrnoError(EIO, "connect") : absl::OkStatus();
        },
        [this] {
          ++calls_;
          if (destroy_in_callback_) event_.reset();
        });
  }
  void Signal() {
    const uint64_t one = 1;
    ASSERT_TRUE(syscalls_.Write(fds_[0], &one, sizeof(one)).ok());
  }

  kernel::LinuxSyscalls syscalls_;
  std::unique_ptr<kernel::EpollEventLoop> loop_ =
      *kernel::EpollEventLoop::Create(&syscalls_);
  std::vector<int> fds_;
  int calls_ = 0;
  bool fail_ = false;
  bool destroy_in_callback_ = false;
  // Destroyed first, because it disconnects through the members above.
  std::unique_ptr<DeviceEvent> event_;
};

TEST_F(DeviceEventTest, SignalsBecomeOneCall) {
  event_ = *Create();
  Signal();
  Signal();
  ASSERT_THAT(loop_->RunOnce(0), IsOk());
  ASSERT_THAT(loop_->RunOnce(0), IsOk());
  EXPECT_EQ(calls_, 1);
  Signal();
  ASSERT_THAT(loop_->RunOnce(0), IsOk());
  EXPECT_EQ(calls_, 2);
}

TEST_F(DeviceEventTest, IsDisconnectedWhenItGoes) {
  event_ = *Create();
  event_.reset();
  EXPECT_THAT(fds_, ElementsAre(Gt(-1), -1));
}

TEST_F(DeviceEventTest, MayBeDestroyedByItsCallback) {
  event_ = *Create();
  destroy_in_callback_ = true;
  Signal();
  ASSERT_THAT(loop_->RunOnce(0), IsOk());
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(event_, nullptr);
}

TEST_F(DeviceEventTest, AFailureToConnectLeavesNothing) {
  fail_ = true;
  EXPECT_EQ(kernel::ErrnoOf(Create().status()), EIO);
  EXPECT_EQ(fds_.size(), 1u);
}

}  // namespace
}  // namespace passthru::vfio_pci
