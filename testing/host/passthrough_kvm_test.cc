// SPDX-License-Identifier: Apache-2.0
//
// Tests FakeKernel with the machine's own KVM. It needs /dev/kvm, which a
// machine may lack, so Bazel does not cache its result.
#include <fcntl.h>
#include <linux/kvm.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using ::testing::IsEmpty;

TEST(PassthroughKvmTest, RealVmsAreBehindTheSameSeam) {
  FakeKernel kernel({.passthrough_kvm = true});
  const auto probe = kernel.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!probe.ok()) {
    GTEST_SKIP() << "SKIPPED: this machine has no usable /dev/kvm";
  }
  kernel.Close(probe.value);
  {
    KvmTestVm vm(&kernel);
    EXPECT_EQ(vm.SetRoutes(24, {{0xfee00000, 0x41}}), 0);
    EXPECT_THAT(kernel.kvm().Slots(), IsEmpty()) << "it is not the fake's";
    EXPECT_EQ(kernel.journal().Count("KVM_SET_GSI_ROUTING"), 1u);
    EXPECT_FALSE(kernel.CheckLeaks().empty());
  }
  EXPECT_TRUE(kernel.CheckLeaks().empty()) << kernel.CheckLeaks();
}

}  // namespace
}  // namespace passthru::fake
