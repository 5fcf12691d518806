// SPDX-License-Identifier: Apache-2.0
//
// Tests that a VMM that breaks an invariant gets one report, which names the
// call, and that a correct VMM gets none.
#include "passthru/testing/host/invariants.h"

#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kvm/kvm_test_vm.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBar = 0xe0000000;
constexpr uint32_t kReadWrite =
    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
constexpr uint64_t kCommand = 4;

// A VM and an NVMe controller, made with system calls only. BAR 0 has two pages
// of registers, the page of the MSI-X table and the page of the pending bits.
class InvariantsTest : public ::testing::Test {
 protected:
  InvariantsTest() {
    EXPECT_TRUE(
        host_.AddFixture("testing/fixtures/nvme.textproto").status().ok());
    vm_ = std::make_unique<KvmTestVm>(&host_.kernel());
    user_ = std::make_unique<VfioUser>(&host_, pci::Bdf(0, 2, 0, 0), 7);
    user_->WriteConfig(kCommand, 2, 0x2);
    EXPECT_THAT(Violations(), IsEmpty());
  }

  std::vector<std::string> Violations() { return host_.invariants().Take(); }
  int MapRam(uint64_t iova, uint64_t offset, uint64_t size) {
    return user_->MapDma(iova, vm_->ram() + offset, size, kReadWrite);
  }

  SimulatedHost host_;
  std::unique_ptr<KvmTestVm> vm_;
  std::unique_ptr<VfioUser> user_;
};

TEST_F(InvariantsTest, PassingThroughProperlyBreaksNothing) {
  void* const bar = user_->MapBar(0, 0, 0x2000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x2000, bar), 0);
  ASSERT_EQ(MapRam(0, 0, KvmTestVm::kRamSize), 0);
  ASSERT_EQ(vm_->SetRoutes(24, {{.address = 0xfee00000, .data = 0x30}}), 0);
  ASSERT_EQ(vm_->SetIrqfd(user_->NewEventfd(), 24), 0);
  // A route to another message is a route too.
  ASSERT_EQ(vm_->SetRoutes(24, {{.address = 0xfee00000, .data = 0x31}}), 0);
  host_.invariants().CheckAtRest();
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->WriteConfig(kCommand, 2, 0);
  user_->UnmapBar(bar, 0x2000);
  EXPECT_THAT(Violations(), IsEmpty());
}

TEST_F(InvariantsTest, SlotOverTheMsixTable) {
  void* const bar = user_->MapBar(0, 0, 0x3000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x3000, bar), 0);
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(
                  HasSubstr("vm 1: memory slot 1 [0xe0000000, +0x3000)"),
                  HasSubstr("vfio-device 0000:02:00.0, BAR 0 [0x0, +0x3000)"),
                  HasSubstr("MSI-X table"),
                  HasSubstr("after KVM_SET_USER_MEMORY_REGION(vm, slot=1"))));
  // The violation is reported only once.
  vm_->SetIrqfd(-1, 0);
  EXPECT_THAT(Violations(), IsEmpty());
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x3000);
}

TEST_F(InvariantsTest, SlotOverThePendingBits) {
  void* const bar = user_->MapBar(0, 0x3000, 0x1000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x1000, bar), 0);
  EXPECT_THAT(Violations(), ElementsAre(AllOf(HasSubstr("[0x3000, +0x1000)"),
                                              HasSubstr("pending bits"))));
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x1000);
}

TEST_F(InvariantsTest, SlotThatCannotHaveLargePages) {
  constexpr uint64_t kTwoMiB = uint64_t{2} << 20;
  ASSERT_TRUE(
      host_.AddFixture("testing/fixtures/ivshmem.textproto").status().ok());
  VfioUser shared(&host_, pci::Bdf(0, 0, 9, 0), 11);
  shared.WriteConfig(kCommand, 2, 0x2);
  void* const bar = shared.MapBar(2, 0, kTwoMiB);
  ASSERT_EQ(vm_->SetSlot(1, kBar + 0x1000, kTwoMiB, bar), 0);
  EXPECT_THAT(
      Violations(),
      ElementsAre(AllOf(HasSubstr("BAR 2 [0x0, +0x200000)"),
                        HasSubstr("guest address 0xe0001000"),
                        HasSubstr("and offset are not equal modulo 0x200000"),
                        HasSubstr("after KVM_SET_USER_MEMORY_REGION("))));
  ASSERT_EQ(vm_->SetSlot(1, kBar + 0x1000, 0, nullptr), 0);
  // A slot that can have only small pages need not care.
  ASSERT_EQ(vm_->SetSlot(1, kBar + 0x1000, 0x1000, bar), 0);
  EXPECT_THAT(Violations(), IsEmpty());
  ASSERT_EQ(vm_->SetSlot(1, kBar + 0x1000, 0, nullptr), 0);
  shared.UnmapBar(bar, kTwoMiB);
}

TEST_F(InvariantsTest, SlotThatOutlivesDecode) {
  void* const bar = user_->MapBar(0, 0, 0x2000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x2000, bar), 0);
  user_->WriteConfig(kCommand, 2, 0);
  EXPECT_THAT(Violations(), ElementsAre(AllOf(HasSubstr("memory slot 1"),
                                              HasSubstr("BAR 0 [0x0, +0x2000)"),
                                              HasSubstr("memory decode is off"),
                                              HasSubstr("after pwrite("))));
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x2000);
}

// A journal that only counts does not need a description of the call.
TEST_F(InvariantsTest, NamesTheCallWithoutAJournal) {
  host_.kernel().journal().set_keep_entries(false);
  void* const bar = user_->MapBar(0, 0, 0x3000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x3000, bar), 0);
  EXPECT_THAT(
      Violations(),
      ElementsAre(HasSubstr("after KVM_SET_USER_MEMORY_REGION(vm, slot=1")));
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x1000, bar), 0);
  EXPECT_THAT(Violations(), IsEmpty());
  const auto& faults = host_.kernel().faults();
  const size_t counted = faults.counted_calls();
  const size_t writes = host_.kernel().journal().Count("pwrite");
  user_->WriteConfig(kCommand, 2, 0);
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(
                  HasSubstr("memory decode is off"),
                  HasSubstr("after pwrite(vfio-device 0000:02:00.0, fd="))));
  EXPECT_EQ(faults.counted_calls(), counted + 1);
  EXPECT_EQ(host_.kernel().journal().Count("pwrite"), writes + 1);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x3000);
}

TEST_F(InvariantsTest, SlotThatTheKernelDidNotDeleteIsExcused) {
  void* const bar = user_->MapBar(0, 0, 0x2000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x2000, bar), 0);
  host_.kernel().faults().FailNthOf("KVM_SET_USER_MEMORY_REGION", 1, ENOMEM);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), ENOMEM);
  user_->WriteConfig(kCommand, 2, 0);
  EXPECT_THAT(Violations(), IsEmpty());
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  // The excuse ends when the slot does.
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x2000, bar), 0);
  EXPECT_THAT(Violations(), ElementsAre(HasSubstr("memory decode is off")));
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x2000);
}

TEST_F(InvariantsTest, SlotOverADeviceInD3hot) {
  constexpr uint64_t kPmControl = 0x64;
  void* const bar = user_->MapBar(0, 0, 0x2000);
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0x2000, bar), 0);
  user_->WriteConfig(kPmControl, 2, 3);
  EXPECT_THAT(Violations(), ElementsAre(HasSubstr("or not D0")));
  ASSERT_EQ(vm_->SetSlot(1, kBar, 0, nullptr), 0);
  user_->UnmapBar(bar, 0x2000);
}

TEST_F(InvariantsTest, IrqfdBeforeItsRoute) {
  ASSERT_EQ(vm_->SetIrqfd(user_->NewEventfd(), 24), 0);
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("GSI 24, which has no route"),
                                HasSubstr("after KVM_IRQFD("))));
}

TEST_F(InvariantsTest, RouteThatGoesBeforeItsIrqfd) {
  ASSERT_EQ(vm_->SetRoutes(24, {{.address = 0xfee00000, .data = 0x30}}), 0);
  ASSERT_EQ(vm_->SetIrqfd(user_->NewEventfd(), 24), 0);
  EXPECT_THAT(Violations(), IsEmpty());
  ASSERT_EQ(vm_->SetRoutes(25, {{.address = 0xfee00000, .data = 0x30}}), 0);
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("GSI 24, which has no route"),
                                HasSubstr("after KVM_SET_GSI_ROUTING("))));
}

TEST_F(InvariantsTest, DmaToMemoryThatIsNotTheGuests) {
  uint8_t* const other = user_->NewMemory(0x1000);
  ASSERT_EQ(user_->MapDma(0x1000, other, 0x1000, kReadWrite), 0);
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("DMA mapping [0x1000, +0x1000)"),
                                HasSubstr("not the guest's memory"),
                                HasSubstr("after VFIO_IOMMU_MAP_DMA("))));
}

TEST_F(InvariantsTest, DmaAtAnotherAddressThanTheGuests) {
  ASSERT_EQ(MapRam(0x1000, 0x2000, 0x1000), 0);
  EXPECT_THAT(Violations(), ElementsAre(HasSubstr("[0x1000, +0x1000)")));
}

TEST_F(InvariantsTest, DmaThatGoesBeyondTheGuestsMemory) {
  uint8_t* const memory = user_->NewMemory(0x2000);
  ASSERT_EQ(vm_->SetSlot(1, 0x100000, 0x1000, memory), 0);
  ASSERT_EQ(user_->MapDma(0x100000, memory, 0x2000, kReadWrite), 0);
  EXPECT_THAT(Violations(),
              ElementsAre(HasSubstr("not the guest's memory from 0x101000")));
  ASSERT_EQ(user_->UnmapDma(0x100000, 0x2000), 0);
  ASSERT_EQ(vm_->SetSlot(1, 0, 0, nullptr), 0);
}

TEST_F(InvariantsTest, RamWithoutDmaAtRest) {
  ASSERT_EQ(MapRam(0, 0, KvmTestVm::kRamSize - 0x1000), 0);
  EXPECT_THAT(Violations(), IsEmpty());
  host_.invariants().CheckAtRest();
  EXPECT_THAT(Violations(), ElementsAre(HasSubstr("is not mapped for DMA")));
}

TEST_F(InvariantsTest, MemoryUnmappedUnderASlot) {
  uint8_t* const memory = user_->NewMemory(0x1000);
  ASSERT_EQ(vm_->SetSlot(1, 0x100000, 0x1000, memory), 0);
  ASSERT_TRUE(host_.kernel().Munmap(memory, 0x1000).ok());
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("memory slot 1 [0x100000, +0x1000)"),
                                HasSubstr("lost its memory"),
                                HasSubstr("after munmap("))));
  ASSERT_EQ(vm_->SetSlot(1, 0, 0, nullptr), 0);
}

TEST_F(InvariantsTest, MemoryReplacedUnderASlot) {
  uint8_t* const memory = user_->NewMemory(0x1000);
  ASSERT_EQ(vm_->SetSlot(1, 0x100000, 0x1000, memory), 0);
  ASSERT_TRUE(host_.kernel()
                  .Mmap(memory, 0x1000, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
                  .ok());
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("memory slot 1 [0x100000, +0x1000)"),
                                HasSubstr("lost its memory"),
                                HasSubstr("after mmap("))));
  ASSERT_EQ(vm_->SetSlot(1, 0, 0, nullptr), 0);
}

TEST_F(InvariantsTest, MemoryUnmappedWhileItIsPinned) {
  uint8_t* const memory = user_->NewMemory(0x1000);
  ASSERT_EQ(vm_->SetSlot(1, 0x100000, 0x1000, memory), 0);
  ASSERT_EQ(user_->MapDma(0x100000, memory, 0x1000, kReadWrite), 0);
  ASSERT_EQ(vm_->SetSlot(1, 0, 0, nullptr), 0);
  Violations();
  ASSERT_TRUE(host_.kernel().Munmap(memory, 0x1000).ok());
  EXPECT_THAT(Violations(),
              ElementsAre(AllOf(HasSubstr("DMA mapping [0x100000, +0x1000)"),
                                HasSubstr("while it is pinned"),
                                HasSubstr("after munmap("))));
}

TEST(InvariantsEndTest, WhatIsLeftAtTheEndEndsTheProcess) {
  EXPECT_DEATH(
      {
        SimulatedHost host;
        host.kernel().Open("/dev/kvm", 0);
      },
      "/dev/kvm, left at the end");
}

}  // namespace
}  // namespace passthru::fake
