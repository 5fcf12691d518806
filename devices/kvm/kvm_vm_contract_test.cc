// SPDX-License-Identifier: Apache-2.0
// Tests KvmVm against a kernel (see kvm_test_backend.h).
#include <fcntl.h>
#include <linux/kvm.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using allocator::Gsi;
using allocator::MemorySlot;
using fake::KvmContractTest;
using kernel::ErrnoOf;
using memory::GuestAddress;
using testing::HasSubstr;

class KvmVmTest : public KvmContractTest {
 protected:
  kernel::EventFd MakeEventFd() {
    absl::StatusOr<kernel::EventFd> event = kernel::EventFd::Create(syscalls());
    EXPECT_THAT(event, IsOk());
    return *std::move(event);
  }
};

TEST_F(KvmVmTest, KnowsItsLimits) {
  EXPECT_GE(vm().MaxSlots(), 32u);
  EXPECT_GE(vm().MaxRoutes(), 1024u);
}

TEST_F(KvmVmTest, CapabilitiesAreThereOrZero) {
  EXPECT_THAT(vm().CheckExtension(KVM_CAP_SIGNAL_MSI), IsOkAndHolds(1));
  EXPECT_THAT(vm().CheckExtension(0x7fffffff), IsOkAndHolds(0));
}

TEST_F(KvmVmTest, AdoptedVmWorksLikeItsOwn) {
  // Creates a VM as another VMM would.
  const kernel::SyscallResult<int> kvm = syscalls()->Open("/dev/kvm", O_RDWR);
  ASSERT_TRUE(kvm.ok());
  const kernel::SyscallResult<int> foreign =
      syscalls()->IoctlInt(kvm.value, KVM_CREATE_VM, 0);
  ASSERT_TRUE(foreign.ok());
  syscalls()->Close(kvm.value);

  const absl::StatusOr<std::unique_ptr<KvmVm>> adopted = KvmVm::Adopt(
      syscalls(), kernel::FileDescriptor(syscalls(), foreign.value));
  ASSERT_THAT(adopted, IsOk());
  EXPECT_EQ((*adopted)->fd(), foreign.value);
  EXPECT_EQ((*adopted)->MaxRoutes(), vm().MaxRoutes());
  EXPECT_THAT((*adopted)->CreateIrqchip(), IsOk());
}

TEST_F(KvmVmTest, AdoptedVmTellsWhereItsIoapicIs) {
  enum class Irqchip { kNone, kSplit, kFull };
  const auto adopt = [this](Irqchip irqchip) {
    const kernel::SyscallResult<int> kvm = syscalls()->Open("/dev/kvm", O_RDWR);
    const int vm = syscalls()->IoctlInt(kvm.value, KVM_CREATE_VM, 0).value;
    syscalls()->Close(kvm.value);
    kvm_enable_cap split = {};
    split.cap = KVM_CAP_SPLIT_IRQCHIP;
    split.args[0] = 24;
    if (irqchip == Irqchip::kSplit) {
      EXPECT_TRUE(syscalls()->Ioctl(vm, KVM_ENABLE_CAP, &split).ok());
    } else if (irqchip == Irqchip::kFull) {
      EXPECT_TRUE(syscalls()->IoctlInt(vm, KVM_CREATE_IRQCHIP, 0).ok());
    }
    return *KvmVm::Adopt(syscalls(), kernel::FileDescriptor(syscalls(), vm));
  };
  const auto full = adopt(Irqchip::kFull);
  EXPECT_TRUE(full->has_kernel_ioapic());
  EXPECT_THAT(full->CheckResampleIrqfd(), IsOk());
  EXPECT_THAT(full->SetGsiRouting(full->BaseRoutes()), IsOk());

  const auto split = adopt(Irqchip::kSplit);
  EXPECT_FALSE(split->has_kernel_ioapic());
  EXPECT_THAT(split->CheckResampleIrqfd(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("split irqchip")));
  EXPECT_TRUE(split->BaseRoutes().empty());
  EXPECT_THAT(split->SetGsiRouting(split->BaseRoutes()), IsOk());
  // The routes of an irqchip that is not there are refused, with the reason.
  const absl::Status refused = split->SetGsiRouting(full->BaseRoutes());
  EXPECT_EQ(ErrnoOf(refused), EINVAL);
  EXPECT_THAT(refused.message(), HasSubstr("KvmVm::BaseRoutes()"));

  EXPECT_FALSE(adopt(Irqchip::kNone)->has_kernel_ioapic());
}

TEST_F(KvmVmTest, DescriptorThatIsNoVmIsNotAdopted) {
  const kernel::SyscallResult<int> null = syscalls()->Open("/dev/null", O_RDWR);
  ASSERT_TRUE(null.ok());
  EXPECT_EQ(ErrnoOf(KvmVm::Adopt(syscalls(),
                                 kernel::FileDescriptor(syscalls(), null.value))
                        .status()),
            ENOTTY);
}

TEST_F(KvmVmTest, SecondIrqchipIsEexist) {
  EXPECT_THAT(vm().CreateIrqchip(), IsOk());
  EXPECT_EQ(ErrnoOf(vm().CreateIrqchip()), EEXIST);
}

TEST_F(KvmVmTest, PitComesAfterTheIrqchipAndOnce) {
  ASSERT_THAT(vm().CreateIrqchip(), IsOk());
  EXPECT_THAT(vm().CreatePit(), IsOk());
  EXPECT_EQ(ErrnoOf(vm().CreatePit()), EEXIST);
}

TEST_F(KvmVmTest, PagesForVmxCanBePlaced) {
  EXPECT_THAT(vm().SetIdentityMapAddress(GuestAddress(0xfffbc000)), IsOk());
  EXPECT_THAT(vm().SetTssAddress(GuestAddress(0xfffbd000)), IsOk());
}

TEST_F(KvmVmTest, VcpuMappingHoldsKvmRun) {
  const absl::StatusOr<size_t> size = vm().VcpuMmapSize();
  ASSERT_THAT(size, IsOk());
  EXPECT_GE(*size, sizeof(kvm_run));
}

class KvmVmSlotTest : public KvmVmTest {
 protected:
  static constexpr uint64_t kSize = 0x4000;

  void SetUp() override {
    KvmVmTest::SetUp();
    if (IsSkipped()) return;
    absl::StatusOr<kernel::MappedRegion> memory =
        kernel::MappedRegion::Allocate(syscalls(), kSize, "guest memory");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
  }

  absl::Status Set(uint32_t slot, uint64_t guest, uint64_t size = kSize,
                   bool read_only = false) {
    return vm().SetMemorySlot(MemorySlot(slot), GuestAddress(guest), size,
                              memory_.data(), read_only);
  }

  kernel::MappedRegion memory_;
};

TEST_F(KvmVmSlotTest, SlotIsSetOnceAndDeletedOnce) {
  EXPECT_THAT(Set(3, 0x10000), IsOk());
  EXPECT_THAT(vm().DeleteMemorySlot(MemorySlot(3)), IsOk());
  EXPECT_EQ(ErrnoOf(vm().DeleteMemorySlot(MemorySlot(3))), EINVAL);
}

TEST_F(KvmVmSlotTest, SlotMayMove) {
  EXPECT_THAT(Set(3, 0x10000), IsOk());
  EXPECT_THAT(Set(3, 0x12000), IsOk());
}

TEST_F(KvmVmSlotTest, SlotMayNotChangeItsSize) {
  EXPECT_THAT(Set(3, 0x10000), IsOk());
  EXPECT_EQ(ErrnoOf(Set(3, 0x10000, kSize / 2)), EINVAL);
}

TEST_F(KvmVmSlotTest, OverlapIsEexist) {
  EXPECT_THAT(Set(3, 0x10000), IsOk());
  EXPECT_EQ(ErrnoOf(Set(4, 0x12000)), EEXIST);
  EXPECT_THAT(Set(4, 0x14000), IsOk());
}

TEST_F(KvmVmSlotTest, ReadOnlyIsAFlagOfTheSlot) {
  EXPECT_THAT(Set(3, 0x10000, kSize, /*read_only=*/true), IsOk());
  EXPECT_EQ(ErrnoOf(Set(3, 0x10000, kSize, /*read_only=*/false)), EINVAL);
}

TEST_F(KvmVmSlotTest, UnalignedAddressIsEinval) {
  const absl::Status status = Set(3, 0x10800);
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_THAT(status.message(),
              HasSubstr("KVM_SET_USER_MEMORY_REGION(slot=3, guest=0x10800, "
                        "size=0x4000)"));
}

TEST_F(KvmVmSlotTest, SlotBeyondTheLastIsEinval) {
  EXPECT_EQ(ErrnoOf(Set(vm().MaxSlots(), 0x10000)), EINVAL);
}

TEST_F(KvmVmSlotTest, SettingNothingDoesNotDelete) {
  EXPECT_THAT(Set(3, 0x10000), IsOk());
  EXPECT_THAT(Set(3, 0x10000, 0), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(vm().DeleteMemorySlot(MemorySlot(3)), IsOk());
}

class KvmVmInterruptTest : public KvmVmTest {
 protected:
  void SetUp() override {
    KvmVmTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_THAT(vm().CreateIrqchip(), IsOk());
  }

  static kvm_irq_routing_entry MsiRoute(uint32_t gsi) {
    kvm_irq_routing_entry entry = {};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = 0xfee00000;
    entry.u.msi.data = 0x41;
    return entry;
  }
};

TEST_F(KvmVmTest, LinesWithoutAnIrqchipAreEnxio) {
  EXPECT_EQ(ErrnoOf(vm().SetLine(allocator::Gsi(16), true)), ENXIO);
}

TEST_F(KvmVmTest, InterruptsWithoutAnIrqchipAreEinval) {
  const kernel::EventFd event = MakeEventFd();
  EXPECT_EQ(ErrnoOf(vm().AssignIrqfd(event.fd(), Gsi(24))), EINVAL);
  EXPECT_EQ(ErrnoOf(vm().SetGsiRouting({})), EINVAL);
  EXPECT_EQ(ErrnoOf(vm().SignalMsi({.address = 0xfee00000, .data = 0x41})),
            EINVAL);
}

TEST_F(KvmVmInterruptTest, AttachedIrqfdDrainsItsEventfd) {
  kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(vm().SetGsiRouting({MsiRoute(24)}), IsOk());
  ASSERT_THAT(vm().AssignIrqfd(event.fd(), Gsi(24)), IsOk());
  EXPECT_THAT(event.Signal(), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(0));
  EXPECT_THAT(vm().DeassignIrqfd(event.fd(), Gsi(24)), IsOk());
  EXPECT_THAT(event.Signal(), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
}

TEST_F(KvmVmInterruptTest, EventfdHasOneIrqfd) {
  const kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(vm().AssignIrqfd(event.fd(), Gsi(24)), IsOk());
  const absl::Status again = vm().AssignIrqfd(event.fd(), Gsi(25));
  EXPECT_EQ(ErrnoOf(again), EBUSY);
  EXPECT_THAT(again.message(), HasSubstr("gsi=25"));
}

TEST_F(KvmVmInterruptTest, DeassigningWhatIsNotAssignedIsNoError) {
  const kernel::EventFd event = MakeEventFd();
  EXPECT_THAT(vm().DeassignIrqfd(event.fd(), Gsi(24)), IsOk());
}

TEST_F(KvmVmInterruptTest, ClosedEventfdIsEbadf) {
  int fd = -1;
  { fd = MakeEventFd().fd(); }
  EXPECT_EQ(ErrnoOf(vm().AssignIrqfd(fd, Gsi(24))), EBADF);
}

TEST_F(KvmVmInterruptTest, DescriptorThatIsNoEventfdIsEinval) {
  EXPECT_EQ(ErrnoOf(vm().AssignIrqfd(vm().fd(), Gsi(24))), EINVAL);
}

TEST_F(KvmVmInterruptTest, ResampleIrqfdTakesTwoEventfds) {
  const kernel::EventFd event = MakeEventFd();
  const kernel::EventFd resample = MakeEventFd();
  EXPECT_THAT(vm().AssignResampleIrqfd(event.fd(), resample.fd(), Gsi(16)),
              IsOk());
  EXPECT_THAT(vm().DeassignIrqfd(event.fd(), Gsi(16)), IsOk());
}

TEST_F(KvmVmInterruptTest, ResampleWithAClosedEventfdIsEbadf) {
  const kernel::EventFd event = MakeEventFd();
  EXPECT_EQ(ErrnoOf(vm().AssignResampleIrqfd(event.fd(), -1, Gsi(16))), EBADF);
}

TEST_F(KvmVmInterruptTest, RoutesAreReplacedAsAWhole) {
  EXPECT_THAT(vm().SetGsiRouting({MsiRoute(24), MsiRoute(25)}), IsOk());
  EXPECT_THAT(vm().SetGsiRouting({MsiRoute(30)}), IsOk());
  EXPECT_THAT(vm().SetGsiRouting({}), IsOk());
}

TEST_F(KvmVmInterruptTest, AsManyRoutesAsItSays) {
  std::vector<kvm_irq_routing_entry> routes;
  for (uint32_t gsi = 0; gsi < vm().MaxRoutes(); ++gsi) {
    routes.push_back(MsiRoute(gsi));
  }
  EXPECT_THAT(vm().SetGsiRouting(routes), IsOk());
  routes.push_back(MsiRoute(0));
  EXPECT_THAT(vm().SetGsiRouting(routes),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("KVM_SET_GSI_ROUTING")));
}

TEST_F(KvmVmInterruptTest, RouteOfAnUnknownTypeIsEinval) {
  kvm_irq_routing_entry route = MsiRoute(24);
  route.type = 99;
  EXPECT_EQ(ErrnoOf(vm().SetGsiRouting({route})), EINVAL);
}

TEST_F(KvmVmInterruptTest, LinesGoUpAndDown) {
  EXPECT_THAT(vm().SetLine(allocator::Gsi(16), true), IsOk());
  EXPECT_THAT(vm().SetLine(allocator::Gsi(16), false), IsOk());
}

TEST_F(KvmVmInterruptTest, MsiWithoutACpuToTakeItIsNoError) {
  EXPECT_THAT(vm().SignalMsi({.address = 0xfee00000, .data = 0x41}), IsOk());
}

TEST_F(KvmVmInterruptTest, MsiToACpuThatIsNotReadyOrNotThereIsNoError) {
  const absl::StatusOr<std::unique_ptr<KvmVcpu>> vcpu =
      KvmVcpu::Create(&vm(), 0);
  ASSERT_THAT(vcpu, IsOk());
  EXPECT_THAT(vm().SignalMsi({.address = 0xfee00000, .data = 0x41}), IsOk());
  EXPECT_THAT(vm().SignalMsi({.address = 0xfee77000, .data = 0x41}), IsOk());
}

}  // namespace
}  // namespace passthru::kvm
