// SPDX-License-Identifier: Apache-2.0
// Tests KvmVfioDevice with the groups of the simulated host.
// kvm_vfio_device_contract_test.cc tests its errors.
#include "passthru/devices/kvm/kvm_vfio_device.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/testing/host/simulated_host.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;

TEST(KvmVfioDeviceGroupTest, GroupIsAddedOnceAndRemovedOnce) {
  fake::SimulatedHost host;
  fake::FakeKernel& kernel = host.kernel();
  ASSERT_THAT(host.AddFixture("testing/fixtures/nvme.textproto"), IsOk());
  {
    const kernel::SyscallResult<int> opened =
        kernel.Open("/dev/vfio/7", O_RDWR);
    ASSERT_TRUE(opened.ok());
    const kernel::FileDescriptor group(&kernel, opened.value);
    const absl::StatusOr<std::unique_ptr<KvmVm>> vm = KvmVm::Create(&kernel);
    ASSERT_THAT(vm, IsOk());
    const absl::StatusOr<std::unique_ptr<KvmVfioDevice>> device =
        KvmVfioDevice::Create(vm->get());
    ASSERT_THAT(device, IsOk());
    EXPECT_THAT((*device)->AddGroup(group.get()), IsOk());
    EXPECT_EQ(kernel::ErrnoOf((*device)->AddGroup(group.get())), EEXIST);
    EXPECT_THAT((*device)->RemoveGroup(group.get()), IsOk());
    EXPECT_EQ(kernel::ErrnoOf((*device)->RemoveGroup(group.get())), ENOENT);
  }
  EXPECT_TRUE(kernel.CheckLeaks().empty()) << kernel.CheckLeaks();
}

}  // namespace
}  // namespace passthru::kvm
