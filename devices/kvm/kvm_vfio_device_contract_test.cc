// SPDX-License-Identifier: Apache-2.0
// Tests KvmVfioDevice against a kernel (see kvm_test_backend.h).
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kvm/kvm_vfio_device.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using fake::KvmContractTest;
using kernel::ErrnoOf;
using testing::HasSubstr;

class KvmVfioDeviceTest : public KvmContractTest {
 protected:
  void SetUp() override {
    KvmContractTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    absl::StatusOr<std::unique_ptr<KvmVfioDevice>> device =
        KvmVfioDevice::Create(&vm());
    // KVM has the device on Intel and on AMD, but some kernels are built
    // without it.
    if (ErrnoOf(device.status()) == ENODEV) {
      GTEST_SKIP() << "NOT TESTED on this machine: its KVM has no VFIO device";
    }
    ASSERT_THAT(device, IsOk());
    device_ = *std::move(device);
  }

  std::unique_ptr<KvmVfioDevice> device_;
};

TEST_F(KvmVfioDeviceTest, OneAtATime) {
  EXPECT_EQ(ErrnoOf(KvmVfioDevice::Create(&vm()).status()), EBUSY);
  device_.reset();
  EXPECT_THAT(KvmVfioDevice::Create(&vm()), IsOk());
}

TEST_F(KvmVfioDeviceTest, ClosedDescriptorIsEbadf) {
  const absl::Status status = device_->AddGroup(-1);
  EXPECT_EQ(ErrnoOf(status), EBADF);
  EXPECT_THAT(status.message(),
              HasSubstr("KVM_SET_DEVICE_ATTR(KVM_DEV_VFIO_GROUP_ADD"));
}

TEST_F(KvmVfioDeviceTest, DescriptorThatIsNoGroupIsEinval) {
  const absl::StatusOr<kernel::EventFd> event =
      kernel::EventFd::Create(syscalls());
  ASSERT_THAT(event, IsOk());
  EXPECT_EQ(ErrnoOf(device_->AddGroup(event->fd())), EINVAL);
}

TEST_F(KvmVfioDeviceTest, RemovingWhatWasNotAddedIsEnoent) {
  const absl::StatusOr<kernel::EventFd> event =
      kernel::EventFd::Create(syscalls());
  ASSERT_THAT(event, IsOk());
  EXPECT_EQ(ErrnoOf(device_->RemoveGroup(event->fd())), ENOENT);
}

}  // namespace
}  // namespace passthru::kvm
