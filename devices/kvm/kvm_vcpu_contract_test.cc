// SPDX-License-Identifier: Apache-2.0
// Tests KvmVcpu against a kernel (see kvm_test_backend.h). Each guest exists as
// real-mode code and as an equivalent program for a simulated vCPU.
#include <linux/kvm.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using fake::KvmContractTest;
using memory::GuestAddress;
using testing::ElementsAre;

constexpr uint64_t kRamSize = 0x10000;
constexpr uint16_t kCode = 0x1000;

class KvmVcpuContractTest : public KvmContractTest {
 protected:
  void SetUp() override {
    KvmContractTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    absl::StatusOr<kernel::MappedRegion> ram =
        kernel::MappedRegion::Allocate(syscalls(), kRamSize, "guest memory");
    ASSERT_THAT(ram, IsOk());
    ram_ = *std::move(ram);
    ASSERT_THAT(vm().SetMemorySlot(allocator::MemorySlot(0), GuestAddress(0),
                                   kRamSize, ram_.data(), /*read_only=*/false),
                IsOk());
  }

  uint8_t* ram() { return static_cast<uint8_t*>(ram_.data()); }

  // Creates vCPU 0 with this guest.
  void Boot(const std::vector<uint8_t>& code, guest::GuestProgram program) {
    absl::StatusOr<std::unique_ptr<KvmVcpu>> vcpu = KvmVcpu::Create(&vm(), 0);
    ASSERT_THAT(vcpu, IsOk());
    vcpu_ = *std::move(vcpu);
    if (!backend().executes_code()) {
      backend().SetGuestProgram(std::move(program));
      return;
    }
    std::memcpy(ram() + kCode, code.data(), code.size());
    absl::StatusOr<kvm_sregs> sregs = vcpu_->GetSregs();
    ASSERT_THAT(sregs, IsOk());
    sregs->cs.base = 0;
    sregs->cs.selector = 0;
    sregs->ds.base = 0xf0000;  // There is no memory at this address.
    sregs->ds.selector = 0xf000;
    ASSERT_THAT(vcpu_->SetSregs(*sregs), IsOk());
    kvm_regs regs = {};
    regs.rip = kCode;
    regs.rflags = 2;
    ASSERT_THAT(vcpu_->SetRegs(regs), IsOk());
  }

  // Returns the next exit other than InterruptedExit.
  VcpuExit Run() {
    for (;;) {
      absl::StatusOr<VcpuExit> exit = vcpu_->Run();
      EXPECT_THAT(exit, IsOk());
      if (!exit.ok()) return UnknownExit{};
      if (!std::holds_alternative<InterruptedExit>(*exit)) return *exit;
    }
  }

  kernel::MappedRegion ram_;
  std::unique_ptr<KvmVcpu> vcpu_;
};

TEST_F(KvmVcpuContractTest, PortWriteThenReadOfWhatWasAnswered) {
  Boot(
      {
          0xb8, 0x34, 0x12,  // mov ax, 0x1234
          0xba, 0xf8, 0x0c,  // mov dx, 0xcf8
          0xef,              // out dx, ax
          0xec,              // in al, dx
          0xee,              // out dx, al
      },
      [](guest::GuestCpu& cpu) {
        cpu.Out(0xcf8, 2, 0x1234);
        cpu.Out(0xcf8, 1, cpu.In(0xcf8, 1));
        return absl::OkStatus();
      });
  VcpuExit exit = Run();
  ASSERT_TRUE(std::holds_alternative<IoExit>(exit));
  IoExit io = std::get<IoExit>(exit);
  EXPECT_EQ(io.port, 0xcf8);
  EXPECT_EQ(io.width, 2);
  EXPECT_EQ(io.count, 1u);
  EXPECT_TRUE(io.is_write);
  EXPECT_THAT(io.data, ElementsAre(0x34, 0x12));

  exit = Run();
  ASSERT_TRUE(std::holds_alternative<IoExit>(exit));
  io = std::get<IoExit>(exit);
  EXPECT_EQ(io.width, 1);
  EXPECT_FALSE(io.is_write);
  ASSERT_EQ(io.data.size(), 1u);
  io.data[0] = 0x99;

  exit = Run();
  ASSERT_TRUE(std::holds_alternative<IoExit>(exit));
  EXPECT_THAT(std::get<IoExit>(exit).data, ElementsAre(0x99));
}

TEST_F(KvmVcpuContractTest, StoreWhereThereIsNoMemoryIsMmio) {
  Boot(
      {
          0xb8, 0x34, 0x12,  // mov ax, 0x1234
          0xa3, 0x10, 0x00,  // mov [0x10], ax; at 0xf0010
          0xa0, 0x20, 0x00,  // mov al, [0x20]
          0xa2, 0x30, 0x00,  // mov [0x30], al
      },
      [](guest::GuestCpu& cpu) {
        cpu.Store(0xf0010, 2, 0x1234);
        cpu.Store(0xf0030, 1, cpu.Load(0xf0020, 1));
        return absl::OkStatus();
      });
  VcpuExit exit = Run();
  ASSERT_TRUE(std::holds_alternative<MmioExit>(exit));
  MmioExit mmio = std::get<MmioExit>(exit);
  EXPECT_EQ(mmio.address, GuestAddress(0xf0010));
  EXPECT_TRUE(mmio.is_write);
  EXPECT_THAT(mmio.data, ElementsAre(0x34, 0x12));

  exit = Run();
  ASSERT_TRUE(std::holds_alternative<MmioExit>(exit));
  mmio = std::get<MmioExit>(exit);
  EXPECT_EQ(mmio.address, GuestAddress(0xf0020));
  EXPECT_FALSE(mmio.is_write);
  ASSERT_EQ(mmio.data.size(), 1u);
  mmio.data[0] = 0x77;

  exit = Run();
  ASSERT_TRUE(std::holds_alternative<MmioExit>(exit));
  mmio = std::get<MmioExit>(exit);
  EXPECT_EQ(mmio.address, GuestAddress(0xf0030));
  EXPECT_THAT(mmio.data, ElementsAre(0x77));
}

TEST_F(KvmVcpuContractTest, AccessThroughASlotDoesNotExit) {
  ASSERT_THAT(
      vm().SetMemorySlot(allocator::MemorySlot(1), GuestAddress(0xf0000),
                         kRamSize, ram(), /*read_only=*/false),
      IsOk());
  Boot(
      {
          0xb0, 0x42,        // mov al, 0x42
          0xa2, 0x08, 0x00,  // mov [8], al; at 0xf0008
          0xe6, 0x80,        // out 0x80, al
      },
      [](guest::GuestCpu& cpu) {
        cpu.Store(0xf0008, 1, 0x42);
        cpu.Out(0x80, 1, 0x42);
        return absl::OkStatus();
      });
  EXPECT_TRUE(std::holds_alternative<IoExit>(Run()));
  EXPECT_EQ(ram()[8], 0x42);
}

TEST_F(KvmVcpuContractTest, WriteToAReadOnlySlotIsMmio) {
  ASSERT_THAT(
      vm().SetMemorySlot(allocator::MemorySlot(1), GuestAddress(0xf0000),
                         kRamSize, ram(), /*read_only=*/true),
      IsOk());
  ram()[9] = 0x55;
  Boot(
      {
          0xa0, 0x09, 0x00,  // mov al, [9]
          0xa2, 0x08, 0x00,  // mov [8], al
      },
      [](guest::GuestCpu& cpu) {
        cpu.Store(0xf0008, 1, cpu.Load(0xf0009, 1));
        return absl::OkStatus();
      });
  const VcpuExit exit = Run();
  ASSERT_TRUE(std::holds_alternative<MmioExit>(exit));
  const MmioExit& mmio = std::get<MmioExit>(exit);
  EXPECT_EQ(mmio.address, GuestAddress(0xf0008));
  EXPECT_TRUE(mmio.is_write);
  EXPECT_THAT(mmio.data, ElementsAre(0x55));
  EXPECT_EQ(ram()[8], 0);
}

TEST_F(KvmVcpuContractTest, ImmediateExitComesBeforeTheGuestRuns) {
  Boot(
      {
          0xe6, 0x80,  // out 0x80, al
      },
      [](guest::GuestCpu& cpu) {
        cpu.Out(0x80, 1, 0);
        return absl::OkStatus();
      });
  vcpu_->RequestImmediateExit();
  const absl::StatusOr<VcpuExit> exit = vcpu_->Run();
  ASSERT_THAT(exit, IsOk());
  EXPECT_TRUE(std::holds_alternative<InterruptedExit>(*exit));
  EXPECT_TRUE(std::holds_alternative<IoExit>(Run()));
}

TEST_F(KvmVcpuContractTest, RegistersReadBackWhatWasSet) {
  Boot({0xf4}, [](guest::GuestCpu&) { return absl::OkStatus(); });
  kvm_regs regs = {};
  regs.rax = 0x1122334455667788;
  regs.rip = kCode;
  regs.rflags = 2;
  ASSERT_THAT(vcpu_->SetRegs(regs), IsOk());
  const absl::StatusOr<kvm_regs> read = vcpu_->GetRegs();
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->rax, 0x1122334455667788u);
  EXPECT_EQ(read->rip, kCode);
}

TEST_F(KvmVcpuContractTest, SecondVcpuOfTheSameIdIsEexist) {
  Boot({0xf4}, [](guest::GuestCpu&) { return absl::OkStatus(); });
  EXPECT_EQ(kernel::ErrnoOf(KvmVcpu::Create(&vm(), 0).status()), EEXIST);
}

TEST_F(KvmVcpuContractTest, HaltWithoutAnIrqchipExits) {
  Boot({0xf4}, [](guest::GuestCpu& cpu) {
    cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  EXPECT_TRUE(std::holds_alternative<HaltExit>(Run()));
}

// KVM's emulator writes one item at a time (em_out()), so `count` is 1 in each
// exit.
TEST_F(KvmVcpuContractTest, RepeatedPortWriteIsAnExitForEachItem) {
  Boot(
      {
          0x31, 0xf6,        // xor si, si
          0x8e, 0xde,        // mov ds, si
          0xbe, 0x00, 0x20,  // mov si, 0x2000
          0xb9, 0x03, 0x00,  // mov cx, 3
          0xba, 0xf8, 0x03,  // mov dx, 0x3f8
          0xf3, 0x6e,        // rep outsb
      },
      [](guest::GuestCpu& cpu) {
        for (uint64_t at = 0x2000; at < 0x2003; ++at) {
          cpu.Out(0x3f8, 1, static_cast<uint32_t>(cpu.Load(at, 1)));
        }
        return absl::OkStatus();
      });
  std::memcpy(ram() + 0x2000, "abc", 3);
  for (const char item : {'a', 'b', 'c'}) {
    const VcpuExit exit = Run();
    ASSERT_TRUE(std::holds_alternative<IoExit>(exit));
    const IoExit& io = std::get<IoExit>(exit);
    EXPECT_EQ(io.port, 0x3f8);
    EXPECT_EQ(io.count, 1u);
    EXPECT_THAT(io.data, ElementsAre(item));
  }
}

}  // namespace
}  // namespace passthru::kvm
