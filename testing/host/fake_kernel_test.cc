// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/fake_kernel.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/fake_kernel_test_base.h"
#include "passthru/testing/journal/journal_matchers.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using journal::IsCall;
using journal::IsFailedCall;
using journal::OnSubject;
using journal::WithField;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kPage = 4096;

class FakeKernelSyscallsTest : public FakeKernelTest {
 protected:
  int OpenKvm(int flags = O_RDWR | O_CLOEXEC) {
    const auto opened = kernel().Open("/dev/kvm", flags);
    EXPECT_EQ(opened.error, 0);
    return opened.value;
  }
};

TEST_F(FakeKernelSyscallsTest, HandsOutRealDescriptors) {
  const int fd = OpenKvm();
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(kernel().IoctlInt(fd, KVM_GET_API_VERSION, 0).value, 12);
  EXPECT_EQ(kernel().Close(fd).error, 0);
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(kernel().IoctlInt(fd, KVM_GET_API_VERSION, 0).error, EBADF);
}

TEST_F(FakeKernelSyscallsTest, CloseOnExecOnlyWhenAsked) {
  const int fd = OpenKvm(O_RDWR);
  EXPECT_EQ(::fcntl(fd, F_GETFD), 0);
  EXPECT_EQ(kernel().Close(fd).error, 0);
}

TEST_F(FakeKernelSyscallsTest, DuplicatedDescriptorIsTheSameFile) {
  const int fd = OpenKvm();
  const int duplicate = ::dup(fd);
  EXPECT_EQ(kernel().Close(fd).error, 0);
  EXPECT_EQ(kernel().IoctlInt(duplicate, KVM_GET_API_VERSION, 0).value, 12);
  EXPECT_EQ(kernel().Close(duplicate).error, 0);
}

TEST_F(FakeKernelSyscallsTest, ReusedNumberIsTheNewFile) {
  const int fd = OpenKvm();
  EXPECT_EQ(kernel().Close(fd).error, 0);
  const int event = kernel().Eventfd(0, EFD_CLOEXEC).value;
  ASSERT_EQ(event, fd) << "the number was not reused";
  EXPECT_EQ(kernel().IoctlInt(event, KVM_GET_API_VERSION, 0).error, ENOTTY);
  EXPECT_EQ(kernel().Close(event).error, 0);
}

TEST_F(FakeKernelSyscallsTest, MissingDeviceNodeIsEnoent) {
  FakeKernel without({.has_kvm = false});
  EXPECT_EQ(without.Open("/dev/kvm", O_RDWR).error, ENOENT);
  EXPECT_EQ(kernel().Open("/dev/vfio/vfio", O_RDWR).error, ENOENT);
}

TEST_F(FakeKernelSyscallsTest, ForbiddenDeviceNodeIsEacces) {
  kernel().SetOpenError("/dev/kvm", EACCES);
  EXPECT_EQ(kernel().Open("/dev/kvm", O_RDWR).error, EACCES);
}

TEST_F(FakeKernelSyscallsTest, FilesWithoutAnOperationAnswerAsLinux) {
  const int fd = OpenKvm();
  char byte = 0;
  EXPECT_EQ(kernel().Read(fd, &byte, 1).error, EINVAL);
  EXPECT_EQ(kernel().Write(fd, &byte, 1).error, EINVAL);
  EXPECT_EQ(kernel().Pread(fd, &byte, 1, 0).error, EINVAL);
  EXPECT_EQ(kernel().Pwrite(fd, &byte, 1, 0).error, EINVAL);
  EXPECT_EQ(kernel().Mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0).error,
            ENODEV);
  const int epoll = kernel().EpollCreate(EPOLL_CLOEXEC).value;
  epoll_event event{};
  EXPECT_EQ(kernel().EpollCtl(epoll, EPOLL_CTL_ADD, fd, &event).error, EPERM);
  EXPECT_EQ(kernel().Close(epoll).error, 0);
  EXPECT_EQ(kernel().Close(fd).error, 0);
}

TEST_F(FakeKernelSyscallsTest, BadMappingArgumentsAreEinval) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(
      kernel().Mmap(nullptr, 0, PROT_READ, MAP_SHARED, vm.vcpu_fd(), 0).error,
      EINVAL);
  EXPECT_EQ(kernel()
                .Mmap(nullptr, kPage, PROT_READ, MAP_SHARED, vm.vcpu_fd(), 100)
                .error,
            EINVAL);
}

TEST_F(FakeKernelSyscallsTest, EverythingElseIsTheRealKernels) {
  const int null = kernel().Open("/dev/null", O_RDWR | O_CLOEXEC).value;
  EXPECT_EQ(kernel().Write(null, "x", 1).value, 1u);
  EXPECT_EQ(kernel().Close(null).error, 0);

  const int event = kernel().Eventfd(3, EFD_CLOEXEC | EFD_NONBLOCK).value;
  pollfd poll{.fd = event, .events = POLLIN};
  EXPECT_EQ(kernel().Poll(&poll, 1, 0).value, 1);
  const int epoll = kernel().EpollCreate(EPOLL_CLOEXEC).value;
  epoll_event wanted{.events = EPOLLIN};
  epoll_event seen{};
  EXPECT_EQ(kernel().EpollCtl(epoll, EPOLL_CTL_ADD, event, &wanted).error, 0);
  EXPECT_EQ(kernel().EpollWait(epoll, &seen, 1, 0).value, 1);
  uint64_t count = 0;
  EXPECT_EQ(kernel().Read(event, &count, sizeof(count)).value, sizeof(count));
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(kernel().EpollWait(epoll, &seen, 1, 0).value, 0);
  EXPECT_EQ(kernel().Close(epoll).error, 0);
  EXPECT_EQ(kernel().Close(event).error, 0);
  EXPECT_EQ(kernel().Readlink("/proc/self/exe").error, 0);
}

TEST_F(FakeKernelSyscallsTest, SysfsAnswersTheFakesDevices) {
  kernel().EditPaths([](FakeSysfs& paths) {
    paths.AddPciDevice(
        {.bdf = "0000:01:00.0", .iommu_group = 6, .driver = "nvme"});
  });
  EXPECT_EQ(kernel().Readlink("/sys/bus/pci/devices/0000:01:00.0/driver").value,
            "../../../bus/pci/drivers/nvme");
  EXPECT_THAT(kernel().ReadDirectory("/sys/bus/pci/devices").value,
              ElementsAre("0000:01:00.0"));
  EXPECT_EQ(kernel().ReadDirectory("/sys/bus/pci/absent").error, ENOENT);
  const int fd = kernel()
                     .Open("/sys/bus/pci/devices/0000:01:00.0/vendor",
                           O_RDONLY | O_CLOEXEC)
                     .value;
  char text[16];
  EXPECT_EQ(kernel().Read(fd, text, sizeof(text)).value, 7u);
  EXPECT_EQ(kernel().Read(fd, text, sizeof(text)).value, 0u);
  EXPECT_EQ(kernel().Close(fd).error, 0);
}

TEST_F(FakeKernelSyscallsTest, JournalHasCallsWithArgumentsAndResults) {
  {
    KvmTestVm vm(&kernel());
    EXPECT_EQ(vm.SetIrqfd(999, 24), EBADF);
  }
  EXPECT_THAT(
      kernel().journal().EntriesNamed(
          {"open", "KVM_CREATE_VM", "KVM_SET_USER_MEMORY_REGION",
           "KVM_CREATE_VCPU", "KVM_IRQFD", "munmap", "close"}),
      ElementsAre(AllOf(IsCall("open"), OnSubject("/dev/kvm")),
                  AllOf(IsCall("KVM_CREATE_VM"), OnSubject("/dev/kvm")),
                  AllOf(IsCall("KVM_SET_USER_MEMORY_REGION"), OnSubject("vm"),
                        WithField("slot", 0),
                        WithField("memory_size", KvmTestVm::kRamSize)),
                  IsCall("KVM_CREATE_VCPU"),
                  AllOf(IsFailedCall("KVM_IRQFD", EBADF), WithField("fd", 999),
                        WithField("gsi", 24)),
                  IsCall("munmap"), AllOf(IsCall("close"), OnSubject("vcpu 0")),
                  AllOf(IsCall("close"), OnSubject("vm")), IsCall("munmap"),
                  AllOf(IsCall("close"), OnSubject("/dev/kvm"))));
}

TEST_F(FakeKernelSyscallsTest, SameCallsGiveTheSameNormalizedJournal) {
  const auto record = [](bool shifted) {
    const int spare = shifted ? ::dup(0) : -1;
    FakeKernel fresh;
    {
      KvmTestVm vm(&fresh);
      const int event = fresh.Eventfd(0, EFD_CLOEXEC).value;
      EXPECT_EQ(vm.SetRoutes(24, {{0xfee00000, 0x41}}), 0);
      EXPECT_EQ(vm.SetIrqfd(event, 24), 0);
      EXPECT_EQ(fresh.Close(event).error, 0);
    }
    if (spare >= 0) ::close(spare);
    return fresh.journal().NormalizedText();
  };
  const std::string first = record(false);
  EXPECT_EQ(first, record(true));
  EXPECT_THAT(first, HasSubstr("KVM_IRQFD(vm, fd=fd#"));
  EXPECT_THAT(first, HasSubstr("msi={24:0xfee00000/0x41}"));
}

TEST_F(FakeKernelSyscallsTest, FaultedCallHasNoEffect) {
  kernel().faults().FailNthOf("open", 1, EMFILE);
  EXPECT_EQ(kernel().Open("/dev/kvm", O_RDWR).error, EMFILE);
  kernel().faults().FailNthOf("KVM_SET_USER_MEMORY_REGION", 1, ENOMEM);
  const int kvm = OpenKvm();
  const int vm = kernel().IoctlInt(kvm, KVM_CREATE_VM, 0).value;
  kvm_userspace_memory_region region{.memory_size = kPage};
  EXPECT_EQ(kernel().Ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region).error,
            ENOMEM);
  EXPECT_THAT(kernel().kvm().Slots(), IsEmpty());
  EXPECT_EQ(kernel().Close(vm).error, 0);
  EXPECT_EQ(kernel().Close(kvm).error, 0);
}

// Makes each call of the seam fail once.
TEST_F(FakeKernelSyscallsTest, EveryCallCanFail) {
  const int fd = kernel().Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK).value;
  uint64_t buffer = 1;
  pollfd poll{.fd = fd, .events = POLLIN};
  epoll_event event{};
  const std::vector<std::pair<std::string, std::function<int()>>> calls = {
      {"open", [&] { return kernel().Open("/dev/null", O_RDWR).error; }},
      {"read", [&] { return kernel().Read(fd, &buffer, 8).error; }},
      {"write", [&] { return kernel().Write(fd, &buffer, 8).error; }},
      {"pread", [&] { return kernel().Pread(fd, &buffer, 8, 0).error; }},
      {"pwrite", [&] { return kernel().Pwrite(fd, &buffer, 8, 0).error; }},
      {"mmap",
       [&] {
         return kernel()
             .Mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0)
             .error;
       }},
      {"munmap", [&] { return kernel().Munmap(&buffer, kPage).error; }},
      {"eventfd", [&] { return kernel().Eventfd(0, 0).error; }},
      {"epoll_create", [&] { return kernel().EpollCreate(0).error; }},
      {"epoll_ctl",
       [&] { return kernel().EpollCtl(0, EPOLL_CTL_ADD, fd, &event).error; }},
      {"epoll_wait", [&] { return kernel().EpollWait(0, &event, 1, 0).error; }},
      {"poll", [&] { return kernel().Poll(&poll, 1, 0).error; }},
      {"readlink", [&] { return kernel().Readlink("/proc/self/exe").error; }},
      {"readdir", [&] { return kernel().ReadDirectory("/").error; }},
      {"KVM_IRQFD",
       [&] { return kernel().Ioctl(fd, KVM_IRQFD, &buffer).error; }},
  };
  for (const auto& [name, call] : calls) {
    kernel().faults().FailNthOf(name, 1, EL3RST);
    EXPECT_EQ(call(), EL3RST) << name;
  }
  EXPECT_EQ(kernel().faults().injected(), calls.size());
  EXPECT_EQ(kernel().Close(fd).error, 0);
}

TEST_F(FakeKernelSyscallsTest, FailedCloseClosesAllTheSame) {
  const int fd = OpenKvm();
  kernel().faults().FailNthOf("close", 1, EIO);
  EXPECT_EQ(kernel().Close(fd).error, EIO);
  EXPECT_EQ(kernel().Close(fd).error, EBADF);
}

TEST_F(FakeKernelSyscallsTest, TransfersCanBeShort) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  kernel().faults().ShortenNthOf("write", 1, 3);
  kernel().faults().ShortenNthOf("read", 1, 2);
  char text[8] = "abcdefg";
  EXPECT_EQ(kernel().Write(ends[1], text, 7).value, 3u);
  EXPECT_EQ(kernel().Read(ends[0], text, 7).value, 2u);
  EXPECT_EQ(kernel().Read(ends[0], text, 7).value, 1u);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(FakeKernelSyscallsTest, LeakReportNamesWhatIsLeft) {
  const ResourceSnapshot before = kernel().Resources();
  const int event = kernel().Eventfd(0, EFD_CLOEXEC).value;
  {
    KvmTestVm vm(&kernel());
    const int extra = ::dup(vm.fd());
    EXPECT_EQ(vm.SetRoutes(24, {{0xfee00000, 0x41}}), 0);
    EXPECT_EQ(vm.SetIrqfd(event, 24), 0);
    const std::string report = kernel().CheckLeaks(before).ToString();
    EXPECT_THAT(report, HasSubstr(": eventfd"));
    EXPECT_THAT(report, HasSubstr(": vm\n"));
    EXPECT_THAT(report, HasSubstr(": vcpu 0\n"));
    EXPECT_THAT(report, HasSubstr("of memory"));
    EXPECT_THAT(report, HasSubstr("of vcpu 0"));
    EXPECT_THAT(report, HasSubstr("vm 1: memory slot 0 [0x0, +0x10000)"));
    EXPECT_THAT(report, HasSubstr("vm 1: irqfd of eventfd"));
    EXPECT_THAT(report, HasSubstr("vm 1: route of GSI 24 to 0xfee00000/0x41"));
    ::close(extra);
  }
  EXPECT_THAT(kernel().CheckLeaks(before).leaks,
              ElementsAre(HasSubstr(": eventfd")));
  EXPECT_EQ(kernel().Close(event).error, 0);
  EXPECT_TRUE(kernel().CheckLeaks(before).empty());
}

TEST_F(FakeKernelSyscallsTest, WhatWasThereBeforeIsNoLeak) {
  KvmTestVm vm(&kernel());
  const ResourceSnapshot before = kernel().Resources();
  EXPECT_EQ(vm.SetSlot(1, 0x100000, kPage, vm.ram()), 0);
  EXPECT_THAT(kernel().CheckLeaks(before).leaks,
              ElementsAre(HasSubstr("memory slot 1 [0x100000, +0x1000)")));
  EXPECT_EQ(vm.SetSlot(1, 0, 0, nullptr), 0);
  EXPECT_TRUE(kernel().CheckLeaks(before).empty());
}

TEST_F(FakeKernelSyscallsTest, MappingsAreTrackedPageByPage) {
  char* const area =
      static_cast<char*>(kernel()
                             .Mmap(nullptr, 3 * kPage, PROT_READ,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                             .value);
  EXPECT_EQ(kernel().Munmap(area + kPage, kPage).error, 0);
  EXPECT_THAT(kernel().CheckLeaks().leaks, SizeIs(2));
  EXPECT_EQ(kernel().Munmap(area, 3 * kPage).error, 0);
}

// A device that has `work` units of work.
class CountingDevice final : public Subsystem {
 public:
  explicit CountingDevice(int work) : work_(work) {}
  bool Step() override {
    if (work_ == 0) return false;
    if (--work_ == 0) done_.Notify();
    return true;
  }
  void AppendResources(std::vector<std::string>&) const override {}
  absl::Notification& done() { return done_; }

 private:
  int work_;
  absl::Notification done_;
};

TEST_F(FakeKernelSyscallsTest, DevicesWorkOnlyWhenStepped) {
  CountingDevice device(3);
  kernel().AddSubsystem(&device);
  EXPECT_TRUE(kernel().StepDevices());
  EXPECT_EQ(kernel().RunDevicesUntilIdle(), 2u);
  EXPECT_FALSE(kernel().StepDevices());
  kernel().Shutdown();
}

TEST_F(FakeKernelSyscallsTest, DeviceThreadDoesTheWork) {
  CountingDevice device(3);
  kernel().AddSubsystem(&device);
  kernel().StartDeviceThread();
  device.done().WaitForNotification();
  kernel().Shutdown();
}

TEST_F(FakeKernelSyscallsTest, LoadOfAGuestLetsDevicesWork) {
  for (const bool steps : {true, false}) {
    FakeKernel fresh({.guest_steps_devices = steps});
    CountingDevice device(1);
    fresh.AddSubsystem(&device);
    KvmTestVm vm(&fresh);
    fresh.kvm().SetGuestProgram(0, [](guest::GuestCpu& cpu) {
      cpu.Load(0, 1);
      return absl::OkStatus();
    });
    EXPECT_EQ(vm.RunUntilShutdown(), 0);
    EXPECT_EQ(device.done().HasBeenNotified(), steps);
  }
}

}  // namespace
}  // namespace passthru::fake
