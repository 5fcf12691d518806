// SPDX-License-Identifier: Apache-2.0
// Tests how KvmVcpu handles each result of KVM_RUN, valid and invalid. The test
// that real guests cause these results is kvm_vcpu_contract_test.cc.
#include "passthru/devices/kvm/kvm_vcpu.h"

#include <linux/kvm.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kRunSize = 12288;

// A KVM whose KVM_RUN calls a function of the test.
class OddKvm : public kernel::ForwardingSyscalls {
 public:
  OddKvm() : ForwardingSyscalls(&linux_), memory_(kRunSize / 8) {}

  kvm_run& run() { return *reinterpret_cast<kvm_run*>(memory_.data()); }
  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(memory_.data()); }

  SyscallResult<int> Open(const char*, int) override { return {.value = 1000}; }
  SyscallResult<int> Close(int) override { return {}; }
  SyscallResult<int> Ioctl(int, unsigned long request, void*) override {
    switch (request) {
      case KVM_GET_API_VERSION:
        return {.value = KVM_API_VERSION};
      case KVM_CREATE_VM:
        return {.value = 1001};
      case KVM_CHECK_EXTENSION:
        return {.value = has_capabilities ? 1 : 0};
      case KVM_GET_VCPU_MMAP_SIZE:
        return {.value = kRunSize};
      case KVM_CREATE_VCPU:
        return create_error != 0 ? SyscallResult<int>{.error = create_error}
                                 : SyscallResult<int>{.value = 1002};
      case KVM_RUN:
        return {.error = on_run(run())};
      case KVM_SET_MSRS:
        return msrs_set;
      default:
        return {.error = ENOTTY};
    }
  }
  SyscallResult<void*> Mmap(void*, size_t length, int, int, int fd,
                            uint64_t offset) override {
    EXPECT_EQ(length, kRunSize);
    EXPECT_EQ(fd, 1002);
    EXPECT_EQ(offset, 0u);
    if (mmap_error != 0) return {.error = mmap_error};
    return {.value = memory_.data()};
  }
  SyscallResult<int> Munmap(void*, size_t) override { return {}; }

  bool has_capabilities = true;
  int create_error = 0;
  SyscallResult<int> msrs_set;
  int mmap_error = 0;
  // Returns the errno.
  std::function<int(kvm_run&)> on_run = [](kvm_run&) { return 0; };

 private:
  kernel::LinuxSyscalls linux_;
  std::vector<uint64_t> memory_;
};

class KvmVcpuTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<KvmVm>> vm = KvmVm::Create(&kvm_);
    ASSERT_THAT(vm, IsOk());
    vm_ = *std::move(vm);
    absl::StatusOr<std::unique_ptr<KvmVcpu>> vcpu = KvmVcpu::Create(&*vm_, 2);
    ASSERT_THAT(vcpu, IsOk());
    vcpu_ = *std::move(vcpu);
  }

  absl::StatusOr<VcpuExit> RunIo(uint8_t direction, uint8_t size,
                                 uint32_t count, uint64_t data_offset) {
    kvm_.on_run = [=](kvm_run& run) {
      run.exit_reason = KVM_EXIT_IO;
      run.io.direction = direction;
      run.io.size = size;
      run.io.port = 0xcf8;
      run.io.count = count;
      run.io.data_offset = data_offset;
      return 0;
    };
    return vcpu_->Run();
  }
  absl::StatusOr<VcpuExit> RunMmio(uint32_t length, bool is_write) {
    kvm_.on_run = [=](kvm_run& run) {
      run.exit_reason = KVM_EXIT_MMIO;
      run.mmio.phys_addr = 0xfe000000;
      run.mmio.len = length;
      run.mmio.is_write = is_write;
      std::memset(run.mmio.data, 0x5a, sizeof(run.mmio.data));
      return 0;
    };
    return vcpu_->Run();
  }
  absl::StatusOr<VcpuExit> RunReason(uint32_t reason) {
    kvm_.on_run = [=](kvm_run& run) {
      run.exit_reason = reason;
      return 0;
    };
    return vcpu_->Run();
  }

  OddKvm kvm_;
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<KvmVcpu> vcpu_;
};

TEST_F(KvmVcpuTest, AnMsrThatKvmRefusesIsNamed) {
  const kvm_msr_entry msrs[] = {{.index = 0x1a0, .data = 1},
                                {.index = 0x2ff, .data = 0x806}};
  kvm_.msrs_set.value = 2;
  EXPECT_THAT(vcpu_->SetMsrs(msrs), IsOk());
  kvm_.msrs_set.value = 1;
  EXPECT_THAT(vcpu_->SetMsrs(msrs),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("refuses the value 0x806 of MSR 0x2ff")));
  kvm_.msrs_set = {.error = E2BIG};
  EXPECT_THAT(vcpu_->SetMsrs(msrs), testing::Not(IsOk()));
}

TEST_F(KvmVcpuTest, OutIsAnIoExitWithItsData) {
  kvm_.bytes()[4096] = 0x78;
  kvm_.bytes()[4097] = 0x56;
  const absl::StatusOr<VcpuExit> exit = RunIo(KVM_EXIT_IO_OUT, 2, 1, 4096);
  ASSERT_THAT(exit, IsOk());
  const IoExit& io = std::get<IoExit>(*exit);
  EXPECT_EQ(io.port, 0xcf8);
  EXPECT_EQ(io.width, 2);
  EXPECT_EQ(io.count, 1u);
  EXPECT_TRUE(io.is_write);
  EXPECT_THAT(io.data, ElementsAre(0x78, 0x56));
}

TEST_F(KvmVcpuTest, InIsAnsweredInTheMapping) {
  const absl::StatusOr<VcpuExit> exit = RunIo(KVM_EXIT_IO_IN, 1, 1, 4096);
  ASSERT_THAT(exit, IsOk());
  const IoExit& io = std::get<IoExit>(*exit);
  EXPECT_FALSE(io.is_write);
  io.data[0] = 0x99;
  EXPECT_EQ(kvm_.bytes()[4096], 0x99);
}

TEST_F(KvmVcpuTest, RepeatedIoHoldsAllAccesses) {
  const absl::StatusOr<VcpuExit> exit = RunIo(KVM_EXIT_IO_OUT, 4, 100, 4096);
  ASSERT_THAT(exit, IsOk());
  EXPECT_EQ(std::get<IoExit>(*exit).count, 100u);
  EXPECT_EQ(std::get<IoExit>(*exit).data.size(), 400u);
}

TEST_F(KvmVcpuTest, IoDataMayReachTheEndOfTheMapping) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 4, 1, kRunSize - 4), IsOk());
}

TEST_F(KvmVcpuTest, IoDataBeyondTheMappingIsRefused) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 4, 1, kRunSize - 3),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("vCPU 2")));
}

TEST_F(KvmVcpuTest, IoOffsetBeyondTheMappingIsRefused) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 4, 1, ~uint64_t{0}),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(KvmVcpuTest, IoCountThatOverflowsIsRefused) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 4, 0xffffffff, 4096),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(KvmVcpuTest, IoWithoutAccessesIsRefused) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 4, 0, 4096),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(KvmVcpuTest, IoOfAnImpossibleWidthIsRefused) {
  EXPECT_THAT(RunIo(KVM_EXIT_IO_OUT, 3, 1, 4096),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(KvmVcpuTest, MmioStoreIsAnExitWithItsData) {
  const absl::StatusOr<VcpuExit> exit = RunMmio(4, true);
  ASSERT_THAT(exit, IsOk());
  const MmioExit& mmio = std::get<MmioExit>(*exit);
  EXPECT_EQ(mmio.address, memory::GuestAddress(0xfe000000));
  EXPECT_TRUE(mmio.is_write);
  EXPECT_THAT(mmio.data, ElementsAre(0x5a, 0x5a, 0x5a, 0x5a));
}

TEST_F(KvmVcpuTest, MmioLoadIsAnsweredInTheMapping) {
  const absl::StatusOr<VcpuExit> exit = RunMmio(8, false);
  ASSERT_THAT(exit, IsOk());
  const MmioExit& mmio = std::get<MmioExit>(*exit);
  EXPECT_FALSE(mmio.is_write);
  ASSERT_EQ(mmio.data.size(), 8u);
  mmio.data[7] = 0x99;
  EXPECT_EQ(kvm_.run().mmio.data[7], 0x99);
}

TEST_F(KvmVcpuTest, MmioLongerThanItsDataIsRefused) {
  EXPECT_THAT(RunMmio(9, true),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("0xfe000000")));
}

TEST_F(KvmVcpuTest, MmioOfNothingIsRefused) {
  EXPECT_THAT(RunMmio(0, true), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(KvmVcpuTest, ReasonsWithoutData) {
  EXPECT_TRUE(std::holds_alternative<HaltExit>(*RunReason(KVM_EXIT_HLT)));
  EXPECT_TRUE(
      std::holds_alternative<ShutdownExit>(*RunReason(KVM_EXIT_SHUTDOWN)));
  EXPECT_TRUE(
      std::holds_alternative<InterruptedExit>(*RunReason(KVM_EXIT_INTR)));
}

TEST_F(KvmVcpuTest, ReasonsOfDeath) {
  kvm_.on_run = [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_FAIL_ENTRY;
    run.fail_entry.hardware_entry_failure_reason = 0x80000021;
    return 0;
  };
  absl::StatusOr<VcpuExit> exit = vcpu_->Run();
  ASSERT_THAT(exit, IsOk());
  EXPECT_EQ(std::get<FailEntryExit>(*exit).hardware_reason, 0x80000021u);

  kvm_.on_run = [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    return 0;
  };
  exit = vcpu_->Run();
  ASSERT_THAT(exit, IsOk());
  EXPECT_EQ(std::get<InternalErrorExit>(*exit).suberror,
            static_cast<uint32_t>(KVM_INTERNAL_ERROR_EMULATION));
}

TEST_F(KvmVcpuTest, SystemEventHasItsType) {
  kvm_.on_run = [](kvm_run& run) {
    run.exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run.system_event.type = KVM_SYSTEM_EVENT_RESET;
    return 0;
  };
  const absl::StatusOr<VcpuExit> exit = vcpu_->Run();
  ASSERT_THAT(exit, IsOk());
  EXPECT_EQ(std::get<SystemEventExit>(*exit).type,
            static_cast<uint32_t>(KVM_SYSTEM_EVENT_RESET));
}

TEST_F(KvmVcpuTest, UnknownReasonIsPassedOn) {
  const absl::StatusOr<VcpuExit> exit = RunReason(12345);
  ASSERT_THAT(exit, IsOk());
  EXPECT_EQ(std::get<UnknownExit>(*exit).reason, 12345u);
}

TEST_F(KvmVcpuTest, SignalsAndUnreadyCpusAreInterruptions) {
  for (const int error : {EINTR, EAGAIN}) {
    kvm_.on_run = [=](kvm_run&) { return error; };
    const absl::StatusOr<VcpuExit> exit = vcpu_->Run();
    ASSERT_THAT(exit, IsOk());
    EXPECT_TRUE(std::holds_alternative<InterruptedExit>(*exit));
  }
}

TEST_F(KvmVcpuTest, FaultIsAnErrorWithItsErrno) {
  kvm_.on_run = [](kvm_run&) { return EFAULT; };
  const absl::Status status = vcpu_->Run().status();
  EXPECT_EQ(kernel::ErrnoOf(status), EFAULT);
  EXPECT_THAT(status.message(), HasSubstr("KVM_RUN of vCPU 2"));
}

TEST_F(KvmVcpuTest, ImmediateExitIsSeenByTheKernelAndUsedUp) {
  std::vector<uint8_t> seen;
  kvm_.on_run = [&](kvm_run& run) {
    seen.push_back(run.immediate_exit);
    return run.immediate_exit != 0 ? EINTR : 0;
  };
  vcpu_->RequestImmediateExit();
  EXPECT_TRUE(std::holds_alternative<InterruptedExit>(*vcpu_->Run()));
  EXPECT_THAT(vcpu_->Run(), IsOk());
  EXPECT_THAT(seen, ElementsAre(1, 0));
}

TEST_F(KvmVcpuTest, NewVcpuIsAsCreated) {
  EXPECT_EQ(vcpu_->id(), 2u);
  EXPECT_EQ(vcpu_->fd(), 1002);
}

TEST_F(KvmVcpuTest, RefusedVcpuCarriesItsErrno) {
  kvm_.create_error = EEXIST;
  EXPECT_EQ(kernel::ErrnoOf(KvmVcpu::Create(&*vm_, 2).status()), EEXIST);
}

TEST_F(KvmVcpuTest, RefusedMappingCarriesItsErrno) {
  kvm_.mmap_error = ENOMEM;
  EXPECT_EQ(kernel::ErrnoOf(KvmVcpu::Create(&*vm_, 3).status()), ENOMEM);
}

TEST_F(KvmVcpuTest, KernelWithoutImmediateExitIsRefused) {
  kvm_.has_capabilities = false;
  EXPECT_THAT(KvmVcpu::Create(&*vm_, 3),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("KVM_CAP_IMMEDIATE_EXIT")));
}

}  // namespace
}  // namespace passthru::kvm
