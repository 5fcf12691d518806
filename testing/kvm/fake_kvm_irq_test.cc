// SPDX-License-Identifier: Apache-2.0
//
// Tests what irqfds, routes and lines do, beyond the answers of their ioctls.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/fake_kernel_test_base.h"
#include "passthru/testing/journal/journal_matchers.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using journal::IsEvent;
using journal::WithField;
using journal::WithText;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kGsi = 24;
constexpr guest::GuestInterrupt kFirst{.address = 0xfee00000, .data = 0x41};
constexpr guest::GuestInterrupt kSecond{.address = 0xfee00000, .data = 0x42};

class FakeKvmIrqTest : public FakeKernelTest {
 protected:
  FakeKvmIrqTest()
      : event_(kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value) {}
  ~FakeKvmIrqTest() override { kernel().Close(event_); }

  // Signals `fd` as VFIO's interrupt handler does.
  void Signal(int fd) {
    KernelCore& core = kernel().core();
    const absl::MutexLock lock(&core.mutex);
    const auto eventfd = core.eventfds.Lookup(fd);
    ASSERT_TRUE(eventfd.ok());
    core.eventfds.Signal(*eventfd.value);
  }

  // Returns the count, or 0 if nothing is pending.
  uint64_t Read(int fd) {
    uint64_t count = 0;
    return kernel().Read(fd, &count, sizeof(count)).ok() ? count : 0;
  }

  std::vector<guest::GuestInterrupt> Messages() {
    return kernel().kvm().Messages();
  }

  const int event_;
};

TEST_F(FakeKvmIrqTest, SignalOfAnIrqfdBecomesItsRoutesMessage) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  Signal(event_);
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
  EXPECT_EQ(Read(event_), 0u) << "the irqfd drains";
  EXPECT_THAT(
      kernel().journal().EntriesNamed({"msi"}),
      ElementsAre(AllOf(IsEvent("msi"), WithField("gsi", kGsi),
                        WithField("data", 0x41), WithText("cause", "irqfd"))));
}

TEST_F(FakeKvmIrqTest, WriteByTheVmmGoesTheSameWay) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  const uint64_t three = 3;
  EXPECT_EQ(kernel().Write(event_, &three, sizeof(three)).value, 8u);
  EXPECT_THAT(Messages(), ElementsAre(kFirst)) << "one, whatever the count";
}

TEST_F(FakeKvmIrqTest, RefusedWritesDoNotInterrupt) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  const uint64_t all_ones = UINT64_MAX;
  EXPECT_EQ(kernel().Write(event_, &all_ones, 8).error, EINVAL);
  EXPECT_EQ(kernel().Write(event_, &all_ones, 4).error, EINVAL);
  EXPECT_THAT(Messages(), IsEmpty());
}

TEST_F(FakeKvmIrqTest, RouteOfTheMomentIsTaken) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  Signal(event_);
  EXPECT_EQ(vm.SetRoutes(kGsi, {kSecond}), 0);
  Signal(event_);
  EXPECT_THAT(Messages(), ElementsAre(kFirst, kSecond));
}

TEST_F(FakeKvmIrqTest, FailedRoutingKeepsTheOldTable) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetRoutes(4095, {kSecond, kSecond}), EINVAL);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  Signal(event_);
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
}

TEST_F(FakeKvmIrqTest, RoutingReplacesTheWholeTable) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(kernel().kvm().Routes().size(), 16u * 2 + 8) << "the default";
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(kernel().kvm().Routes().size(), 1u);
}

TEST_F(FakeKvmIrqTest, InterruptWithoutARouteIsLostForGood) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  Signal(event_);
  EXPECT_EQ(kernel().kvm().LostInterrupts(), 1u);
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_THAT(Messages(), IsEmpty());
  EXPECT_EQ(Read(event_), 0u);
  EXPECT_THAT(kernel().journal().EntriesNamed({"interrupt-lost"}),
              ElementsAre(WithField("gsi", kGsi)));
}

TEST_F(FakeKvmIrqTest, AssigningInjectsAPendingCountAndLeavesIt) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  Signal(event_);
  Signal(event_);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
  EXPECT_EQ(Read(event_), 2u);
}

TEST_F(FakeKvmIrqTest, DeassigningDiscardsTheCount) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  Signal(event_);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi, KVM_IRQFD_FLAG_DEASSIGN), 0);
  EXPECT_EQ(Read(event_), 0u);
  Signal(event_);
  EXPECT_EQ(Read(event_), 1u) << "after that user space sees it again";
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
}

TEST_F(FakeKvmIrqTest, DeassigningWithAnotherGsiLeavesItAssigned) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi + 1, KVM_IRQFD_FLAG_DEASSIGN), 0);
  Signal(event_);
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
}

TEST_F(FakeKvmIrqTest, DescriptorIsNotTheIdentity) {
  KvmTestVm vm(&kernel());
  const int duplicate = ::dup(event_);
  EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  EXPECT_EQ(vm.SetIrqfd(duplicate, kGsi + 1), EBUSY);
  EXPECT_EQ(vm.SetIrqfd(duplicate, kGsi, KVM_IRQFD_FLAG_DEASSIGN), 0);
  EXPECT_THAT(kernel().kvm().Irqfds(), IsEmpty());
  ::close(duplicate);
}

// eventfd_release() wakes the irqfd with EPOLLHUP, which deactivates it.
TEST_F(FakeKvmIrqTest, ClosingTheEventfdEndsItsIrqfd) {
  KvmTestVm vm(&kernel());
  const int event = kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value;
  EXPECT_EQ(vm.SetIrqfd(event, kGsi), 0);
  const int duplicate = ::dup(event);
  EXPECT_EQ(kernel().Close(event).error, 0);
  EXPECT_EQ(kernel().kvm().Irqfds().size(), 1u);
  EXPECT_EQ(kernel().Close(duplicate).error, 0);
  EXPECT_THAT(kernel().kvm().Irqfds(), IsEmpty());
}

TEST_F(FakeKvmIrqTest, ClosingTheVmEndsItsIrqfds) {
  {
    KvmTestVm vm(&kernel());
    EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
  }
  Signal(event_);
  EXPECT_EQ(Read(event_), 1u);
}

TEST_F(FakeKvmIrqTest, ResampledLineStaysUpUntilTheGuestAcknowledges) {
  KvmTestVm vm(&kernel());
  const int resample = kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value;
  constexpr uint32_t kLine = 17;
  EXPECT_EQ(vm.SetIrqfd(event_, kLine, KVM_IRQFD_FLAG_RESAMPLE, resample), 0);
  Signal(event_);
  EXPECT_TRUE(kernel().kvm().LineLevel(kLine));
  EXPECT_EQ(Read(resample), 0u);
  kernel().kvm().Acknowledge(kLine);
  EXPECT_FALSE(kernel().kvm().LineLevel(kLine));
  EXPECT_EQ(Read(resample), 1u);
  // The shutdown of the line's last irqfd lowers the line.
  Signal(event_);
  EXPECT_EQ(vm.SetIrqfd(event_, kLine, KVM_IRQFD_FLAG_DEASSIGN), 0);
  EXPECT_FALSE(kernel().kvm().LineLevel(kLine));
  EXPECT_EQ(kernel().Close(resample).error, 0);
}

TEST_F(FakeKvmIrqTest, EdgeOfAPlainIrqfdIsAPulse) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetIrqfd(event_, 5), 0);
  Signal(event_);
  EXPECT_FALSE(kernel().kvm().LineLevel(5));
  EXPECT_EQ(kernel().kvm().LostInterrupts(), 0u);
}

TEST_F(FakeKvmIrqTest, LineIsTheOrOfItsSources) {
  KvmTestVm vm(&kernel());
  const int resample = kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value;
  constexpr uint32_t kLine = 17;
  EXPECT_EQ(vm.SetIrqfd(event_, kLine, KVM_IRQFD_FLAG_RESAMPLE, resample), 0);
  kvm_irq_level line{};
  line.irq = kLine;
  line.level = 1;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_IRQ_LINE, &line).error, 0);
  Signal(event_);
  kernel().kvm().Acknowledge(kLine);
  EXPECT_TRUE(kernel().kvm().LineLevel(kLine));
  line.level = 0;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_IRQ_LINE, &line).error, 0);
  EXPECT_FALSE(kernel().kvm().LineLevel(kLine));
  EXPECT_EQ(kernel().Close(resample).error, 0);
}

TEST_F(FakeKvmIrqTest, IrqLineReachesARoutedMessage) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  kvm_irq_level line{};
  line.irq = kGsi;
  line.level = 1;
  EXPECT_EQ(kernel().Ioctl(vm.fd(), KVM_IRQ_LINE_STATUS, &line).error, 0);
  EXPECT_EQ(static_cast<int>(line.status), 0) << "no CPU was ready";
  EXPECT_THAT(Messages(), ElementsAre(kFirst));
}

TEST_F(FakeKvmIrqTest, SignalMsiNeedsNoRoute) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {}), 0);
  EXPECT_EQ(vm.SignalMsi(kSecond).error, 0);
  EXPECT_THAT(Messages(), ElementsAre(kSecond));
}

// The device signals while the VMM assigns and deassigns. The guest or user
// space must see each signal, or both if it is pending at an assignment. The
// device waits for that, because two signals may become one.
TEST_F(FakeKvmIrqTest, NothingIsLostBetweenIrqfdAndUserSpace) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetRoutes(kGsi, {kFirst}), 0);
  kernel().journal().set_keep_entries(false);
  constexpr size_t kSignals = 50;
  std::atomic<size_t> sent = 0;
  std::atomic<size_t> acknowledged = 0;
  std::thread device([&] {
    while (sent < kSignals) {
      Signal(event_);
      ++sent;
      while (acknowledged < sent) std::this_thread::yield();
    }
  });
  uint64_t seen_by_user_space = 0;
  size_t seen_before = 0;
  // No schedule needs nearly as many rounds, so a lost signal ends the test.
  for (int round = 0; acknowledged < kSignals && round < 1'000'000; ++round) {
    EXPECT_EQ(vm.SetIrqfd(event_, kGsi), 0);
    seen_by_user_space += Read(event_);
    EXPECT_EQ(vm.SetIrqfd(event_, kGsi, KVM_IRQFD_FLAG_DEASSIGN), 0);
    seen_by_user_space += Read(event_);
    const size_t seen = kernel().journal().Count("msi") + seen_by_user_space;
    if (sent > acknowledged && seen > seen_before) {
      seen_before = seen;
      ++acknowledged;
    }
    std::this_thread::yield();  // The mutex is not fair.
  }
  EXPECT_EQ(acknowledged, kSignals) << "a signal was lost";
  acknowledged = kSignals;
  device.join();
}

}  // namespace
}  // namespace passthru::fake
