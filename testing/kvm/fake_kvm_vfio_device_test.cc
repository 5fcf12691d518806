// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/fake_kernel_test_base.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

// A VFIO group as KVM sees it.
class GroupFile final : public FakeFile {
 public:
  explicit GroupFile(int* releases) : releases_(releases) {}
  std::string Describe() const override { return "group"; }
  bool IsVfioFile(KernelVersion) const override { return true; }
  void OnRelease() override { ++*releases_; }

 private:
  int* const releases_;
};

class FakeKvmVfioDeviceTest : public FakeKernelTest {
 protected:
  FakeKvmVfioDeviceTest() {
    kernel().EditPaths([this](FakeSysfs& paths) {
      paths.AddCharacterDevice("/dev/vfio/6", [this](int) {
        return kernel::SyscallResult<std::shared_ptr<FakeFile>>{
            .value = std::make_shared<GroupFile>(&releases_)};
      });
    });
  }

  int OpenGroup() {
    return kernel().Open("/dev/vfio/6", O_RDWR | O_CLOEXEC).value;
  }

  int CreateDevice(int vm) {
    kvm_create_device request{.type = KVM_DEV_TYPE_VFIO};
    EXPECT_EQ(kernel().Ioctl(vm, KVM_CREATE_DEVICE, &request).error, 0);
    return static_cast<int>(request.fd);
  }

  int SetFile(int device, uint64_t attribute, int32_t fd) {
    kvm_device_attr attr{.group = KVM_DEV_VFIO_FILE,
                         .attr = attribute,
                         .addr = reinterpret_cast<uintptr_t>(&fd)};
    return kernel().Ioctl(device, KVM_SET_DEVICE_ATTR, &attr).error;
  }

  int releases_ = 0;
};

TEST_F(FakeKvmVfioDeviceTest, AddsAndRemovesAGroupOnce) {
  KvmTestVm vm(&kernel());
  const int device = CreateDevice(vm.fd());
  const int group = OpenGroup();
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_ADD, group), 0);
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_ADD, group), EEXIST);
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_DEL, group), 0);
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_DEL, group), ENOENT);
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_DEL, 999), EBADF);
  EXPECT_EQ(kernel().Close(group).error, 0);
  EXPECT_EQ(releases_, 1);
  EXPECT_EQ(kernel().Close(device).error, 0);
}

TEST_F(FakeKvmVfioDeviceTest, HoldsTheGroupOpen) {
  KvmTestVm vm(&kernel());
  const int device = CreateDevice(vm.fd());
  const int group = OpenGroup();
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_ADD, group), 0);
  EXPECT_EQ(kernel().Close(group).error, 0);
  EXPECT_EQ(releases_, 0);
  EXPECT_EQ(kernel().Close(device).error, 0);
  EXPECT_EQ(releases_, 1);
}

TEST_F(FakeKvmVfioDeviceTest, FileThatIsNotVfiosIsEinval) {
  KvmTestVm vm(&kernel());
  const int device = CreateDevice(vm.fd());
  EXPECT_EQ(SetFile(device, KVM_DEV_VFIO_FILE_ADD, vm.fd()), EINVAL);
  EXPECT_EQ(kernel().Close(device).error, 0);
}

TEST_F(FakeKvmVfioDeviceTest, DeviceKeepsTheVmAlive) {
  int device = -1;
  {
    KvmTestVm vm(&kernel());
    device = CreateDevice(vm.fd());
  }
  EXPECT_THAT(kernel().kvm().Slots(), SizeIs(1));
  EXPECT_EQ(kernel().Close(device).error, 0);
  EXPECT_THAT(kernel().kvm().Slots(), IsEmpty());
}

}  // namespace
}  // namespace passthru::fake
