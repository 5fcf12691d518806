// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/cpuid.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::ErrnoOf;
using kernel::SyscallResult;
using testing::ElementsAre;

// A kernel whose CPU has two CPUID leaves.
class CpuidKernel : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  SyscallResult<int> Ioctl(int fd, unsigned long request, void* arg) override {
    auto* const cpuid = static_cast<kvm_cpuid2*>(arg);
    switch (request) {
      case KVM_GET_SUPPORTED_CPUID: {
        if (get_error != 0) return {.error = get_error};
        auto* const entries = reinterpret_cast<kvm_cpuid_entry2*>(
            reinterpret_cast<uint8_t*>(arg) + sizeof(kvm_cpuid2));
        entries[0].function = 0;
        entries[1].function = 0x80000001;
        cpuid->nent = answered;
        return {};
      }
      case KVM_SET_CPUID2: {
        if (set_error != 0) return {.error = set_error};
        set_fd = fd;
        const auto* const entries = reinterpret_cast<kvm_cpuid_entry2*>(
            reinterpret_cast<uint8_t*>(arg) + sizeof(kvm_cpuid2));
        for (uint32_t i = 0; i < cpuid->nent; ++i) {
          functions.push_back(entries[i].function);
        }
        return {};
      }
      default:
        return ForwardingSyscalls::Ioctl(fd, request, arg);
    }
  }

  uint32_t answered = 2;
  int get_error = 0;
  int set_error = 0;
  int set_fd = -1;
  std::vector<uint32_t> functions;
};

class CpuidTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<KvmVm>> vm = KvmVm::Create(&kernel_);
    ASSERT_THAT(vm, IsOk());
    vm_ = *std::move(vm);
    absl::StatusOr<std::unique_ptr<KvmVcpu>> vcpu =
        KvmVcpu::Create(vm_.get(), 0);
    ASSERT_THAT(vcpu, IsOk());
    vcpu_ = *std::move(vcpu);
  }

  // Gives the vCPU what KVM supports.
  absl::Status PassOn() {
    PASSTHRU_ASSIGN_OR_RETURN(const auto entries, SupportedCpuid(&kernel_));
    return SetCpuid(&kernel_, *vcpu_, entries);
  }

  fake::FakeKernel fake_;
  CpuidKernel kernel_{&fake_};
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<KvmVcpu> vcpu_;
};

TEST_F(CpuidTest, WhatKvmSupportsGoesToTheVcpu) {
  EXPECT_THAT(PassOn(), IsOk());
  EXPECT_EQ(kernel_.set_fd, vcpu_->fd());
  EXPECT_THAT(kernel_.functions, ElementsAre(0, 0x80000001));
}

TEST_F(CpuidTest, MoreEntriesThanThereIsRoomForAreRefused) {
  kernel_.answered = 257;
  EXPECT_THAT(SupportedCpuid(&kernel_), StatusIs(absl::StatusCode::kInternal));
}

TEST_F(CpuidTest, ErrorsCarryTheirErrno) {
  kernel_.get_error = E2BIG;
  EXPECT_EQ(ErrnoOf(PassOn()), E2BIG);
  kernel_.get_error = 0;
  kernel_.set_error = EINVAL;
  EXPECT_EQ(ErrnoOf(PassOn()), EINVAL);
}

// Returns the address bits of a CPU with this EAX in leaf 0x80000008.
unsigned AddressBits(uint32_t sizes) {
  const kvm_cpuid_entry2 entries[] = {{.function = 0},
                                      {.function = 0x80000008, .eax = sizes}};
  return GuestPhysicalAddressBits(entries);
}

TEST(GuestPhysicalAddressBitsTest, AreThoseOfTheCpu) {
  EXPECT_EQ(AddressBits(0x302e), 46u);
}

// With four levels of page tables KVM maps 48 bits, whatever the CPU has.
TEST(GuestPhysicalAddressBitsTest, AreNoMoreThanKvmMaps) {
  EXPECT_EQ(AddressBits(0x303934), 48u);
  EXPECT_EQ(AddressBits(0x39'39'39), 52u);
}

TEST(GuestPhysicalAddressBitsTest, Are36WithoutTheLeaf) {
  EXPECT_EQ(GuestPhysicalAddressBits({}), 36u);
  EXPECT_EQ(AddressBits(0x3000), 36u);
}

}  // namespace
}  // namespace passthru::kvm
