// SPDX-License-Identifier: Apache-2.0
// Tests KvmVm on hosts without what it needs. For its calls, see
// kvm_vm_contract_test.cc.
#include "passthru/devices/kvm/kvm_vm.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::AllOf;
using testing::HasSubstr;

// A host with everything that KvmVm needs, unless a test changes that.
class OddHost : public kernel::ForwardingSyscalls {
 public:
  OddHost() : ForwardingSyscalls(&linux_) {}

  SyscallResult<int> Open(const char* path, int) override {
    EXPECT_EQ(std::string_view(path), "/dev/kvm");
    if (open_error != 0) return {.error = open_error};
    ++open;
    return {.value = 1000};
  }
  SyscallResult<int> Close(int) override {
    --open;
    return {};
  }
  SyscallResult<int> Ioctl(int, unsigned long request, void* arg) override {
    switch (request) {
      case KVM_GET_API_VERSION:
        return {.value = api_version};
      case KVM_CREATE_VM:
        if (interrupts-- > 0) return {.error = EINTR};
        ++open;
        return {.value = 1001};
      case KVM_CHECK_EXTENSION:
        return {.value = capabilities[reinterpret_cast<uintptr_t>(arg)]};
      case KVM_GET_VCPU_MMAP_SIZE:
        return {.value = vcpu_mmap_size};
      default:
        return {.error = ENOTTY};
    }
  }

  int open_error = 0;
  int api_version = KVM_API_VERSION;
  int interrupts = 0;
  int vcpu_mmap_size = 12288;
  int open = 0;  // Number of open descriptors.
  std::map<uintptr_t, int> capabilities = {
      {KVM_CAP_USER_MEMORY, 1},    {KVM_CAP_IRQCHIP, 1},
      {KVM_CAP_IRQFD, 1},          {KVM_CAP_SIGNAL_MSI, 1},
      {KVM_CAP_IRQ_ROUTING, 4096}, {KVM_CAP_NR_MEMSLOTS, 32764},
  };

 private:
  kernel::LinuxSyscalls linux_;
};

class KvmVmCreateTest : public testing::Test {
 protected:
  // Every test must leave no descriptor open.
  ~KvmVmCreateTest() override { EXPECT_EQ(host_.open, 0); }

  absl::Status Create() { return KvmVm::Create(&host_).status(); }

  OddHost host_;
};

TEST_F(KvmVmCreateTest, GoodHost) {
  const absl::StatusOr<std::unique_ptr<KvmVm>> vm = KvmVm::Create(&host_);
  ASSERT_THAT(vm, IsOk());
  EXPECT_EQ((*vm)->MaxRoutes(), 4096u);
  EXPECT_EQ((*vm)->MaxSlots(), 32764u);
  EXPECT_EQ((*vm)->fd(), 1001);
}

TEST_F(KvmVmCreateTest, NoKvmSaysHowToGetIt) {
  for (const int error : {ENOENT, ENODEV, ENXIO}) {
    host_.open_error = error;
    const absl::Status status = Create();
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr("no /dev/kvm"), HasSubstr("modprobe kvm"),
                      HasSubstr("firmware")));
    EXPECT_EQ(kernel::ErrnoOf(status), error);
  }
}

TEST_F(KvmVmCreateTest, NoPermissionSaysHowToGetIt) {
  host_.open_error = EACCES;
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kPermissionDenied,
                                 HasSubstr("usermod -aG kvm")));
}

TEST_F(KvmVmCreateTest, OtherOpenErrorIsTheErrno) {
  host_.open_error = EMFILE;
  EXPECT_EQ(kernel::ErrnoOf(Create()), EMFILE);
}

TEST_F(KvmVmCreateTest, OtherApiVersionIsRefused) {
  host_.api_version = 11;
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("11"), HasSubstr("12"))));
}

TEST_F(KvmVmCreateTest, SignalDoesNotEndTheCreation) {
  host_.interrupts = 3;
  EXPECT_THAT(Create(), IsOk());
}

struct Capability {
  uintptr_t number;
  const char* name;
};
class KvmVmCapabilityTest : public KvmVmCreateTest,
                            public testing::WithParamInterface<Capability> {};

TEST_P(KvmVmCapabilityTest, MissingOneIsNamed) {
  host_.capabilities[GetParam().number] = 0;
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr(GetParam().name)));
}

INSTANTIATE_TEST_SUITE_P(
    , KvmVmCapabilityTest,
    testing::Values(Capability{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
                    Capability{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
                    Capability{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
                    Capability{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
                    Capability{KVM_CAP_IRQ_ROUTING, "0 interrupt routes"},
                    Capability{KVM_CAP_NR_MEMSLOTS, "0 memory slots"}),
    [](const auto& capability) {
      return "Capability" + std::to_string(capability.param.number);
    });

TEST_F(KvmVmCreateTest, VcpuMappingTooSmallForKvmRunIsRefused) {
  const absl::StatusOr<std::unique_ptr<KvmVm>> vm = KvmVm::Create(&host_);
  ASSERT_THAT(vm, IsOk());
  host_.vcpu_mmap_size = 100;
  EXPECT_THAT((*vm)->VcpuMmapSize(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("100 bytes")));
}

}  // namespace
}  // namespace passthru::kvm
