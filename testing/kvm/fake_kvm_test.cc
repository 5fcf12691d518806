// SPDX-License-Identifier: Apache-2.0
//
// Tests what the contract with the real kernel cannot cover: calls that need a
// VFIO file, several kernels, or the fake's internal state.
#include "passthru/testing/kvm/fake_kvm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/fake_kernel_test_base.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kKvmPage = 4096;
// Never mapped, as part of the first 64 KiB.
constexpr uint64_t kBadAddress = kKvmPage;

using CpuidTable = kernel::FlexArray<kvm_cpuid2, kvm_cpuid_entry2>;

class FakeKvmTest : public FakeKernelTest {};

// Passes a bad pointer to each call that takes one.
TEST_F(FakeKvmTest, UnreadableArgumentIsEfault) {
  KvmTestVm vm(&kernel());
  for (const unsigned long request :
       {KVM_SET_USER_MEMORY_REGION, KVM_SET_USER_MEMORY_REGION2,
        KVM_CREATE_PIT2, KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS, KVM_SET_GSI_ROUTING,
        KVM_IRQFD, KVM_SIGNAL_MSI, KVM_IOEVENTFD, KVM_ENABLE_CAP,
        KVM_CREATE_DEVICE, KVM_GET_IRQCHIP}) {
    EXPECT_EQ(kernel().IoctlInt(vm.fd(), request, kBadAddress).error, EFAULT)
        << std::hex << request;
  }
  for (const unsigned long request :
       {KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS,
        KVM_SET_CPUID2, KVM_SET_MSRS}) {
    EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), request, kBadAddress).error,
              EFAULT)
        << std::hex << request;
  }
}

TEST_F(FakeKvmTest, RoutesThatCannotBeReadAreEfault) {
  KvmTestVm vm(&kernel());
  // The readable memory ends after the header.
  uint8_t* const hole = vm.ram() + KvmTestVm::kRamSize - kKvmPage;
  ASSERT_EQ(::mprotect(hole, kKvmPage, PROT_NONE), 0);
  auto* const header =
      reinterpret_cast<kvm_irq_routing*>(hole - sizeof(kvm_irq_routing));
  header->flags = 0;
  header->nr = 1;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_GSI_ROUTING, header).error, EFAULT);
  header->nr = 0;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_GSI_ROUTING, header).error, 0);
}

TEST_F(FakeKvmTest, UnknownVcpuCallIsEinval) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), _IO(KVMIO, 0x7f), 0).error, EINVAL);
}

// Of a vCPU there is the offset of its TSC (kvm_vcpu_ioctl_device_attr()), and
// of KVM the state that guests may have (kvm_x86_dev_get_attr()). A VM has
// none.
TEST_F(FakeKvmTest, VcpuAndSystemHaveOneAttributeEach) {
  KvmTestVm vm(&kernel());
  const int kvm = kernel().Open("/dev/kvm", O_RDWR | O_CLOEXEC).value;
  uint64_t value = 77;
  const auto ask = [&](int fd, unsigned long request, uint32_t group) {
    kvm_device_attr attribute{};
    attribute.group = group;
    attribute.addr = reinterpret_cast<uintptr_t>(&value);
    return kernel().Ioctl(fd, request, &attribute).error;
  };
  for (const int fd : {vm.vcpu_fd(), kvm}) {
    EXPECT_EQ(ask(fd, KVM_HAS_DEVICE_ATTR, 0), 0);
    EXPECT_EQ(ask(fd, KVM_HAS_DEVICE_ATTR, 1), ENXIO);
    EXPECT_EQ(ask(fd, KVM_GET_DEVICE_ATTR, 0), 0);
    EXPECT_NE(value, 77u);
    EXPECT_EQ(kernel().IoctlInt(fd, KVM_HAS_DEVICE_ATTR, kBadAddress).error,
              EFAULT);
    value = 77;
  }
  EXPECT_EQ(ask(vm.vcpu_fd(), KVM_SET_DEVICE_ATTR, 0), 0);
  EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), KVM_ENABLE_CAP, kBadAddress).error,
            EFAULT);
  EXPECT_EQ(ask(kvm, KVM_SET_DEVICE_ATTR, 0), EINVAL);
  EXPECT_EQ(ask(vm.fd(), KVM_HAS_DEVICE_ATTR, 0), ENOTTY);
  EXPECT_EQ(kernel().Close(kvm).error, 0);
}

// A VMM reads the state of a vCPU back that it has set, or that of nobody.
TEST_F(FakeKvmTest, StateIsKept) {
  KvmTestVm vm(&kernel());
  kvm_vcpu_events events{};
  events.flags = 7;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_VCPU_EVENTS, &events).error,
            0);
  EXPECT_EQ(events.flags, 0u);
  events.flags = 5;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_VCPU_EVENTS, &events).error,
            0);
  events = {};
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_VCPU_EVENTS, &events).error,
            0);
  EXPECT_EQ(events.flags, 5u);
  EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), KVM_SET_XSAVE, kBadAddress).error,
            EFAULT);
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  chip.chip.pic.imr = 0x5a;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_IRQCHIP, &chip).error, 0);
  chip.chip.pic.imr = 0;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_GET_IRQCHIP, &chip).error, 0);
  EXPECT_EQ(chip.chip.pic.imr, 0x5a);
  chip.chip_id = 3;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_IRQCHIP, &chip).error, EINVAL);
  kernel::FlexArray<kvm_msrs, kvm_msr_entry> msrs(1);
  msrs.header().nmsrs = 1;
  msrs.elements()[0].index = 0x277;
  msrs.elements()[0].data = 9;
  void* const list = msrs.bytes().data();
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_MSRS, list).value, 1);
  msrs.elements()[0].data = 0;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_MSRS, list).value, 1);
  EXPECT_EQ(msrs.elements()[0].data, 9u);
  uint64_t banks = 0x1000100 | 10;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_X86_SETUP_MCE, &banks).error, 0);
  banks = 33;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_X86_SETUP_MCE, &banks).error,
            EINVAL);
}

// kvm_arch_vm_ioctl(), kvm_arch_vcpu_ioctl().
TEST_F(FakeKvmTest, PitAndApicThatAreNotThereHaveNoState) {
  KvmTestVm vm(&kernel(), /*irqchip=*/false);
  kvm_pit_state2 pit = {};
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_GET_PIT2, &pit).error, ENXIO);
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_PIT2, &pit).error, ENXIO);
  EXPECT_EQ(kernel().IoctlInt(vm.fd(), KVM_SET_PIT2, kBadAddress).error,
            EFAULT);
  kvm_lapic_state apic = {};
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_LAPIC, &apic).error, EINVAL);
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_LAPIC, &apic).error, EINVAL);
}

TEST_F(FakeKvmTest, WhatIsNotBuiltIsAnUnknownCall) {
  KvmTestVm vm(&kernel());
  for (const unsigned long request :
       {KVM_GET_DIRTY_LOG, KVM_XEN_HVM_CONFIG, KVM_REGISTER_COALESCED_MMIO,
        KVM_CREATE_GUEST_MEMFD}) {
    EXPECT_EQ(kernel().IoctlInt(vm.fd(), request, 0).error, ENOTTY)
        << std::hex << request;
  }
  for (const unsigned long request :
       {KVM_GET_NESTED_STATE, KVM_INTERRUPT, KVM_SET_SIGNAL_MASK}) {
    EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), request, 0).error, EINVAL)
        << std::hex << request;
  }
}

TEST_F(FakeKvmTest, SecondMemoryRegionCallCameWithItsCapability) {
  for (const KernelVersion version : kAllKernelVersions) {
    FakeKernel versioned({.version = version});
    KvmTestVm vm(&versioned);
    kvm_userspace_memory_region2 region{
        .slot = 1,
        .guest_phys_addr = 0x100000,
        .memory_size = kKvmPage,
        .userspace_addr = reinterpret_cast<uintptr_t>(vm.ram())};
    const int error =
        versioned.Ioctl(vm.fd(), KVM_SET_USER_MEMORY_REGION2, &region).error;
    const int offered =
        versioned.IoctlInt(vm.fd(), KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY2)
            .value;
    EXPECT_EQ(error, offered == 1 ? 0 : ENOTTY) << version;
    EXPECT_EQ(offered, version == KernelVersion::k6_1 ? 0 : 1) << version;
  }
}

TEST_F(FakeKvmTest, GuestMemfdIsNotBuilt) {
  KvmTestVm vm(&kernel());
  kvm_userspace_memory_region2 region{
      .slot = 1,
      .flags = KVM_MEM_GUEST_MEMFD,
      .guest_phys_addr = 0x100000,
      .memory_size = kKvmPage,
      .userspace_addr = reinterpret_cast<uintptr_t>(vm.ram())};
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_SET_USER_MEMORY_REGION2, &region).error,
            EINVAL);
}

TEST_F(FakeKvmTest, TssAddressMustLeaveThreePages) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(kernel().IoctlInt(vm.fd(), KVM_SET_TSS_ADDR, 0xfffbd000).error, 0);
  EXPECT_EQ(kernel().IoctlInt(vm.fd(), KVM_SET_TSS_ADDR, 0xffffd000).error, 0);
  EXPECT_EQ(kernel().IoctlInt(vm.fd(), KVM_SET_TSS_ADDR, 0xffffe000).error,
            EINVAL);
}

TEST_F(FakeKvmTest, IdentityMapIsSetBeforeTheFirstVcpu) {
  uint64_t address = 0xfffbc000;
  KvmTestVm early(&kernel(), /*irqchip=*/true, /*vcpus=*/0);
  EXPECT_EQ(
      kernel().Ioctl(early.fd(), KVM_SET_IDENTITY_MAP_ADDR, &address).error, 0);
  KvmTestVm late(&kernel());
  EXPECT_EQ(
      kernel().Ioctl(late.fd(), KVM_SET_IDENTITY_MAP_ADDR, &address).error,
      EINVAL);
}

TEST_F(FakeKvmTest, UnknownCapabilitiesCannotBeEnabled) {
  KvmTestVm vm(&kernel());
  const auto enable = [&](uint32_t number, uint32_t flags, uint64_t argument) {
    kvm_enable_cap capability{};
    capability.cap = number;
    capability.flags = flags;
    capability.args[0] = argument;
    return kernel().Ioctl(vm.fd(), KVM_ENABLE_CAP, &capability).error;
  };
  EXPECT_EQ(enable(9999, 0, 0), EINVAL);
  EXPECT_EQ(enable(KVM_CAP_X2APIC_API, 1, 0), EINVAL);
  EXPECT_EQ(enable(KVM_CAP_X2APIC_API, 0, 0x100), EINVAL);
  EXPECT_EQ(enable(KVM_CAP_SPLIT_IRQCHIP, 0, 4097), EINVAL);
}

// The bad pointer comes after the state, in kvm_arch_vm_ioctl().
TEST_F(FakeKvmTest, IdentityMapComesBeforeTheFirstVcpu) {
  const KvmTestVm none(&kernel(), /*irqchip=*/true, /*vcpus=*/0);
  EXPECT_EQ(kernel()
                .IoctlInt(none.fd(), KVM_SET_IDENTITY_MAP_ADDR, kBadAddress)
                .error,
            EFAULT);
  const KvmTestVm one(&kernel());
  EXPECT_EQ(
      kernel().IoctlInt(one.fd(), KVM_SET_IDENTITY_MAP_ADDR, kBadAddress).error,
      EINVAL);
}

TEST_F(FakeKvmTest, SplitIrqchipComesBeforeTheFirstVcpu) {
  KvmTestVm vm(&kernel(), /*irqchip=*/false);
  kvm_enable_cap capability{};
  capability.cap = KVM_CAP_SPLIT_IRQCHIP;
  capability.args[0] = 24;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_ENABLE_CAP, &capability).error, EEXIST);
}

// The state that Linux 6.18 reports of a VM that has not run.
TEST_F(FakeKvmTest, IrqchipReadsAsAfterAReset) {
  KvmTestVm vm(&kernel());
  const auto get = [&](uint32_t id) {
    kvm_irqchip chip{};
    chip.chip_id = id;
    EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_GET_IRQCHIP, &chip).error,
              id <= KVM_IRQCHIP_IOAPIC ? 0 : EINVAL);
    return chip;
  };
  EXPECT_EQ(get(KVM_IRQCHIP_PIC_MASTER).chip.pic.elcr_mask, 0xf8);
  EXPECT_EQ(get(KVM_IRQCHIP_PIC_SLAVE).chip.pic.elcr_mask, 0xde);
  const kvm_irqchip ioapic = get(KVM_IRQCHIP_IOAPIC);
  EXPECT_EQ(ioapic.chip.ioapic.base_address, 0xfec00000u);
  EXPECT_EQ(ioapic.chip.ioapic.redirtbl[23].bits, 0x10000u);
  get(3);

  KvmTestVm none(&kernel(), /*irqchip=*/false);
  kvm_irqchip chip{};
  EXPECT_EQ(kernel().Ioctl(none.fd(), KVM_GET_IRQCHIP, &chip).error, ENXIO);
}

TEST_F(FakeKvmTest, RegistersAreKept) {
  KvmTestVm vm(&kernel());
  kvm_regs regs{};
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_REGS, &regs).error, 0);
  EXPECT_EQ(regs.rip, 0xfff0u) << "the reset vector";
  regs.rax = 42;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_REGS, &regs).error, 0);
  kvm_sregs sregs{};
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_SREGS, &sregs).error, 0);
  sregs.cr3 = 0x1000;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_SREGS, &sregs).error, 0);
  kvm_regs regs_now{};
  kvm_sregs sregs_now{};
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_REGS, &regs_now).error, 0);
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_GET_SREGS, &sregs_now).error, 0);
  EXPECT_EQ(regs_now.rax, 42u);
  EXPECT_EQ(sregs_now.cr3, 0x1000u);
}

TEST_F(FakeKvmTest, SupportedCpuidHasLongModeAndIsTaken) {
  KvmTestVm vm(&kernel());
  const int kvm = kernel().Open("/dev/kvm", O_RDWR | O_CLOEXEC).value;
  CpuidTable table(64);
  table.header().nent = 64;
  EXPECT_EQ(kernel().Ioctl(kvm, KVM_GET_SUPPORTED_CPUID, table.data()).error,
            0);
  const uint32_t count = table.header().nent;
  EXPECT_LT(count, 64u);
  bool long_mode = false;
  for (uint32_t i = 0; i < count; ++i) {
    const kvm_cpuid_entry2& entry = table.elements()[i];
    if (entry.function == 0x80000001) long_mode = (entry.edx >> 29 & 1) != 0;
  }
  EXPECT_TRUE(long_mode);
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_CPUID2, table.data()).error,
            0);
  EXPECT_EQ(kernel().Close(kvm).error, 0);
}

TEST_F(FakeKvmTest, CpuidListsOfTheWrongSizeAreE2big) {
  KvmTestVm vm(&kernel());
  const int kvm = kernel().Open("/dev/kvm", O_RDWR | O_CLOEXEC).value;
  CpuidTable table(1);
  table.header().nent = 1;
  EXPECT_EQ(kernel().Ioctl(kvm, KVM_GET_SUPPORTED_CPUID, table.data()).error,
            E2BIG);
  table.header().nent = 257;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_CPUID2, table.data()).error,
            E2BIG);
  EXPECT_EQ(kernel().Close(kvm).error, 0);
}

TEST_F(FakeKvmTest, MsrsAreCountedAndTooManyAreE2big) {
  KvmTestVm vm(&kernel());
  kernel::FlexArray<kvm_msrs, kvm_msr_entry> msrs(2);
  msrs.header().nmsrs = 2;
  const auto set = kernel().Ioctl(vm.vcpu_fd(), KVM_SET_MSRS, msrs.data());
  EXPECT_EQ(set.error, 0);
  EXPECT_EQ(set.value, 2);
  msrs.header().nmsrs = 256;
  EXPECT_EQ(kernel().Ioctl(vm.vcpu_fd(), KVM_SET_MSRS, msrs.data()).error,
            E2BIG);
}

TEST_F(FakeKvmTest, SlotsAndIrqfdsEndWithTheVm) {
  const int event = kernel().Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK).value;
  {
    KvmTestVm vm(&kernel());
    EXPECT_EQ(vm.SetIrqfd(event, 24), 0);
    EXPECT_THAT(kernel().kvm().Irqfds(), SizeIs(1));
  }
  EXPECT_THAT(kernel().kvm().Slots(), IsEmpty());
  EXPECT_THAT(kernel().kvm().Irqfds(), IsEmpty());
  EXPECT_EQ(kernel().Close(event).error, 0);
}

}  // namespace
}  // namespace passthru::fake
