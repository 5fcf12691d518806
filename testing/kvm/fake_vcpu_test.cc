// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_vcpu.h"

#include <linux/kvm.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/fake_kernel_test_base.h"
#include "passthru/testing/journal/journal_matchers.h"
#include "passthru/testing/kvm/kvm_test_vm.h"

namespace passthru::fake {
namespace {

using journal::IsEvent;

using ::absl_testing::IsOk;
using ::testing::Optional;

constexpr uint64_t kGuestPage = 4096;
constexpr uint64_t kMmio = 0xe0000000;

class FakeVcpuTest : public FakeKernelTest {
 protected:
  void SetProgram(guest::GuestProgram program, unsigned vcpu = 0) {
    kernel().kvm().SetGuestProgram(vcpu, std::move(program));
  }

  void ExpectFinished(unsigned vcpu = 0) {
    EXPECT_THAT(kernel().kvm().GuestStatus(vcpu), Optional(IsOk()));
  }
};

TEST_F(FakeVcpuTest, AccessesToASlotDoNotExit) {
  KvmTestVm vm(&kernel());
  uint64_t seen = 0;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    cpu.Store(0x1000, 8, 0x1122334455667788);
    cpu.Store(0x1003, 1, 0xaa);
    seen = cpu.Load(0x1000, 8);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_EQ(seen, 0x11223344aa667788u);
  EXPECT_EQ(vm.ram()[0x1003], 0xaa);
  EXPECT_EQ(kernel().kvm().ExitCounts().memory_accesses, 3u);
  EXPECT_EQ(kernel().kvm().ExitCounts().total(), 1u) << "but the shutdown";
  ExpectFinished();
}

TEST_F(FakeVcpuTest, MissIsAnMmioExitWhoseResultTheNextRunTakes) {
  KvmTestVm vm(&kernel());
  std::vector<uint64_t> seen;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    for (const unsigned width : {1u, 2u, 4u, 8u}) {
      seen.push_back(cpu.Load(kMmio, width));
    }
    return absl::OkStatus();
  });
  std::vector<uint32_t> lengths;
  EXPECT_EQ(vm.RunUntilShutdown([&lengths](kvm_run& run) {
    EXPECT_EQ(run.mmio.phys_addr, kMmio);
    EXPECT_EQ(run.mmio.is_write, 0);
    lengths.push_back(run.mmio.len);
    std::memset(run.mmio.data, 0x5a, run.mmio.len);
  }),
            4);
  EXPECT_THAT(lengths, ::testing::ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(seen, ::testing::ElementsAre(0x5a, 0x5a5a, 0x5a5a5a5a,
                                           0x5a5a5a5a5a5a5a5a));
  EXPECT_EQ(kernel().kvm().ExitCounts().mmio_reads, 4u);
}

TEST_F(FakeVcpuTest, StoreExitsWithItsData) {
  KvmTestVm vm(&kernel());
  SetProgram([](guest::GuestCpu& cpu) {
    cpu.Store(kMmio + 4, 4, 0xdeadbeef);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown([](kvm_run& run) {
    uint32_t value = 0;
    std::memcpy(&value, run.mmio.data, sizeof(value));
    EXPECT_EQ(run.mmio.phys_addr, kMmio + 4);
    EXPECT_EQ(run.mmio.len, 4u);
    EXPECT_EQ(run.mmio.is_write, 1);
    EXPECT_EQ(value, 0xdeadbeef);
  }),
            1);
  EXPECT_EQ(kernel().kvm().ExitCounts().mmio_writes, 1u);
}

TEST_F(FakeVcpuTest, PortsExitWithDataInTheNextPage) {
  KvmTestVm vm(&kernel());
  uint32_t seen = 0;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    cpu.Out(0xcf8, 4, 0x80000000);
    seen = cpu.In(0xcfc, 2);
    return absl::OkStatus();
  });
  std::vector<uint16_t> ports;
  EXPECT_EQ(vm.RunUntilShutdown([&ports](kvm_run& run) {
    EXPECT_EQ(run.exit_reason, uint32_t{KVM_EXIT_IO});
    EXPECT_EQ(run.io.count, 1u);
    ports.push_back(run.io.port);
    auto* const data = reinterpret_cast<uint8_t*>(&run) + run.io.data_offset;
    if (run.io.direction == KVM_EXIT_IO_OUT) {
      EXPECT_EQ(run.io.size, 4);
      EXPECT_EQ(data[3], 0x80);
    } else {
      EXPECT_EQ(run.io.size, 2);
      data[0] = 0x34;
      data[1] = 0x12;
      data[2] = 0xff;
    }
  }),
            2);
  EXPECT_THAT(ports, ::testing::ElementsAre(0xcf8, 0xcfc));
  EXPECT_EQ(seen, 0x1234u);
  EXPECT_EQ(kernel().kvm().ExitCounts().io_writes, 1u);
  EXPECT_EQ(kernel().kvm().ExitCounts().io_reads, 1u);
}

TEST_F(FakeVcpuTest, AccessAcrossTheEndOfASlotIsSplitAtThePage) {
  KvmTestVm vm(&kernel());
  uint64_t seen = 0;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    cpu.Store(KvmTestVm::kRamSize - 4, 8, 0x8877665544332211);
    seen = cpu.Load(KvmTestVm::kRamSize - 4, 8);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown([](kvm_run& run) {
    EXPECT_EQ(run.mmio.phys_addr, KvmTestVm::kRamSize);
    EXPECT_EQ(run.mmio.len, 4u);
    if (run.mmio.is_write != 0) {
      EXPECT_EQ(run.mmio.data[0], 0x55);
    } else {
      std::memset(run.mmio.data, 0, 4);
    }
  }),
            2);
  EXPECT_EQ(seen, 0x44332211u);
}

TEST_F(FakeVcpuTest, StoreToAReadOnlySlotExits) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.SetSlot(1, 0x100000, kGuestPage, vm.ram(), KVM_MEM_READONLY), 0);
  vm.ram()[8] = 0x77;
  uint64_t seen = 0;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    seen = cpu.Load(0x100008, 1);
    cpu.Store(0x100008, 1, 0);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown([](kvm_run& run) {
    EXPECT_EQ(run.mmio.phys_addr, 0x100008u);
    EXPECT_EQ(run.mmio.is_write, 1);
  }),
            1);
  EXPECT_EQ(seen, 0x77u);
  EXPECT_EQ(vm.ram()[8], 0x77);
  EXPECT_EQ(vm.SetSlot(1, 0, 0, nullptr), 0);
}

TEST_F(FakeVcpuTest, SlotOverNothingFailsWithEfaultAndIsTriedAgain) {
  KvmTestVm vm(&kernel());
  // This address is beyond the end of its file, like the mapping of a BAR when
  // memory decode is off. It stays mapped, because another thread could soon
  // get an unmapped address.
  const int empty = ::memfd_create("empty", MFD_CLOEXEC);
  void* const dead = kernel()
                         .Mmap(nullptr, kGuestPage, PROT_READ | PROT_WRITE,
                               MAP_SHARED, empty, 0)
                         .value;
  EXPECT_EQ(vm.SetSlot(1, kMmio, kGuestPage, dead), 0);
  uint64_t seen = 0;
  SetProgram([&seen](guest::GuestCpu& cpu) {
    seen = cpu.Load(kMmio, 4);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.Run().error, EFAULT);
  EXPECT_EQ(vm.Run().error, EFAULT);
  // The VMM deletes the slot, so the access becomes MMIO.
  EXPECT_EQ(vm.SetSlot(1, 0, 0, nullptr), 0);
  EXPECT_EQ(vm.RunUntilShutdown(
                [](kvm_run& run) { std::memset(run.mmio.data, 1, 4); }),
            1);
  EXPECT_EQ(seen, 0x01010101u);
  EXPECT_EQ(kernel().kvm().ExitCounts().faults, 2u);
  EXPECT_EQ(kernel().Munmap(dead, kGuestPage).error, 0);
  ::close(empty);
}

TEST_F(FakeVcpuTest, StoreToMemoryThatIsNotWritableFaults) {
  KvmTestVm vm(&kernel());
  void* const constant = kernel()
                             .Mmap(nullptr, kGuestPage, PROT_READ,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                             .value;
  EXPECT_EQ(vm.SetSlot(1, kMmio, kGuestPage, constant), 0);
  SetProgram([](guest::GuestCpu& cpu) {
    cpu.Store(kMmio, 4, 1);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.Run().error, EFAULT);
  EXPECT_EQ(vm.SetSlot(1, 0, 0, nullptr), 0);
  EXPECT_EQ(vm.RunUntilShutdown(), 1);
  EXPECT_EQ(kernel().Munmap(constant, kGuestPage).error, 0);
}

TEST_F(FakeVcpuTest, EndOfTheProgramIsAShutdownForGood) {
  KvmTestVm vm(&kernel());
  SetProgram(
      [](guest::GuestCpu&) { return absl::InternalError("guest panics"); });
  EXPECT_EQ(kernel().kvm().GuestStatus(0), std::nullopt);
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_EQ(kernel().kvm().GuestStatus(0)->message(), "guest panics");
}

TEST_F(FakeVcpuTest, BootProcessorWithoutSoftwareShutsDown) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
}

TEST_F(FakeVcpuTest, ArgumentOfKvmRunIsEinval) {
  KvmTestVm vm(&kernel());
  EXPECT_EQ(kernel().IoctlInt(vm.vcpu_fd(), KVM_RUN, 1).error, EINVAL);
}

TEST_F(FakeVcpuTest, ImmediateExitCompletesTheAccessAndDoesNotRunTheGuest) {
  KvmTestVm vm(&kernel());
  std::atomic<bool> resumed = false;
  uint64_t seen = 0;
  SetProgram([&](guest::GuestCpu& cpu) {
    seen = cpu.Load(kMmio, 1);
    resumed = true;
    return absl::OkStatus();
  });
  ASSERT_EQ(vm.Run().error, 0);
  ASSERT_EQ(vm.run().exit_reason, uint32_t{KVM_EXIT_MMIO});
  vm.run().mmio.data[0] = 0x42;
  vm.run().immediate_exit = 1;
  EXPECT_EQ(vm.Run().error, EINTR);
  EXPECT_FALSE(resumed);
  // KVM_RUN has taken the result, so this change has no effect.
  vm.run().mmio.data[0] = 0x99;
  vm.run().immediate_exit = 0;
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_EQ(seen, 0x42u);
  EXPECT_EQ(kernel().kvm().ExitCounts().interrupted, 1u);
}

TEST_F(FakeVcpuTest, SignalInterruptsAWaitingGuest) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);

  KvmTestVm vm(&kernel());
  absl::Notification waiting;
  std::optional<guest::GuestInterrupt> interrupt;
  SetProgram([&](guest::GuestCpu& cpu) {
    waiting.Notify();
    interrupt = cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  int first_error = 0;
  pthread_t runner{};
  absl::Notification started;
  std::thread thread([&] {
    runner = ::pthread_self();
    started.Notify();
    first_error = vm.Run().error;
  });
  started.WaitForNotification();
  waiting.WaitForNotification();
  // The thread is in KVM_RUN, where signals are blocked or ppoll() waits, so
  // the signal is not lost.
  ::pthread_kill(runner, SIGUSR1);
  thread.join();
  EXPECT_EQ(first_error, EINTR);
  EXPECT_EQ(vm.run().exit_reason, uint32_t{KVM_EXIT_INTR});

  EXPECT_EQ(vm.SignalMsi({.address = 0xfee00000, .data = 0x30}).value, 1);
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_THAT(interrupt, Optional(guest::GuestInterrupt{0xfee00000, 0x30}));
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(FakeVcpuTest, InterruptsArriveInOrder) {
  KvmTestVm vm(&kernel());
  std::vector<uint32_t> taken;
  SetProgram([&taken](guest::GuestCpu& cpu) {
    for (int i = 0; i < 3; ++i) {
      taken.push_back(
          cpu.WaitForInterrupt().value_or(guest::GuestInterrupt{}).data);
    }
    return absl::OkStatus();
  });
  for (const uint32_t data : {0x31u, 0x41u, 0x31u}) {
    EXPECT_EQ(vm.SignalMsi({.address = 0xfee00000, .data = data}).value, 1);
  }
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_THAT(taken, ::testing::ElementsAre(0x31, 0x41, 0x31));
}

TEST_F(FakeVcpuTest, WaitingGuestIsWokenFromAnotherThread) {
  KvmTestVm vm(&kernel());
  absl::Notification waiting;
  std::optional<guest::GuestInterrupt> taken;
  SetProgram([&](guest::GuestCpu& cpu) {
    waiting.Notify();
    taken = cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  std::thread signaller([&] {
    waiting.WaitForNotification();
    EXPECT_EQ(vm.SignalMsi({.address = 0xfee00000, .data = 0x55}).value, 1);
  });
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  signaller.join();
  EXPECT_THAT(taken, Optional(guest::GuestInterrupt{0xfee00000, 0x55}));
}

TEST_F(FakeVcpuTest, HaltWithoutIrqchipExits) {
  KvmTestVm vm(&kernel(), /*irqchip=*/false);
  SetProgram([](guest::GuestCpu& cpu) {
    EXPECT_EQ(cpu.WaitForInterrupt(), std::nullopt);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.Run().error, 0);
  EXPECT_EQ(vm.run().exit_reason, uint32_t{KVM_EXIT_HLT});
  kernel().kvm().StopGuests();
  EXPECT_EQ(kernel().kvm().ExitCounts().halts, 1u);
}

TEST_F(FakeVcpuTest, GuestThatNothingComesForIsToldSo) {
  FakeKernel kernel({.kvm = {.guest_wait_limit = absl::Milliseconds(1)}});
  KvmTestVm vm(&kernel);
  std::optional<guest::GuestInterrupt> taken = guest::GuestInterrupt{};
  kernel.kvm().SetGuestProgram(0, [&taken](guest::GuestCpu& cpu) {
    taken = cpu.WaitForInterrupt();
    EXPECT_FALSE(cpu.Stopping());
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown(), 0);
  EXPECT_EQ(taken, std::nullopt);
  EXPECT_THAT(kernel.journal().Entries(),
              ::testing::Contains(IsEvent("no-interrupt")));
}

TEST_F(FakeVcpuTest, MessageGoesToTheVcpuThatItsAddressNames) {
  KvmTestVm vm(&kernel(), /*irqchip=*/true, /*vcpus=*/2);
  for (unsigned id : {0u, 1u}) {
    SetProgram(
        [](guest::GuestCpu& cpu) {
          cpu.WaitForInterrupt();
          return absl::OkStatus();
        },
        id);
  }
  EXPECT_EQ(vm.SignalMsi({.address = 0xfee01000, .data = 0x40}).value, 1);
  EXPECT_EQ(vm.RunUntilShutdown({}, 1), 0);
  // These are the physical broadcast, and the logical IDs of both vCPUs.
  EXPECT_EQ(vm.SignalMsi({.address = 0xfeeff000, .data = 0x40}).value, 2);
  EXPECT_EQ(vm.SignalMsi({.address = 0xfee03004, .data = 0x40}).value, 2);
  // With lowest priority, only one of them takes it.
  EXPECT_EQ(vm.SignalMsi({.address = 0xfee03004, .data = 0x140}).value, 1);
  EXPECT_EQ(vm.SignalMsi({.address = 0xfee07000, .data = 0x40}).value, 0);
  EXPECT_EQ(vm.RunUntilShutdown({}, 0), 0);
}

TEST_F(FakeVcpuTest, ApplicationProcessorWithoutSoftwareWaitsInTheKernel) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  KvmTestVm vm(&kernel(), /*irqchip=*/true, /*vcpus=*/2);
  // KVM_RUN blocks the signal. One that comes then is pending, and so
  // interrupts ppoll() at once.
  sigset_t usr1;
  sigset_t mask;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  ::pthread_sigmask(SIG_UNBLOCK, &usr1, &mask);
  std::atomic<bool> done = false;
  const pthread_t runner = ::pthread_self();
  std::thread kicker([&] {
    while (!done) {
      ::pthread_kill(runner, SIGUSR1);
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(vm.Run(1).error, EINTR);
  done = true;
  kicker.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(FakeVcpuTest, ClosingTheVcpuEndsItsGuest) {
  absl::Notification ended;
  {
    KvmTestVm vm(&kernel());
    SetProgram([&ended](guest::GuestCpu& cpu) {
      EXPECT_EQ(cpu.Load(kMmio, 2), 0xffffu);
      cpu.Store(kMmio, 2, 1);
      EXPECT_EQ(cpu.In(0x60, 1), 0xffu);
      cpu.Out(0x60, 1, 1);
      EXPECT_EQ(cpu.WaitForInterrupt(), std::nullopt);
      EXPECT_TRUE(cpu.Stopping());
      ended.Notify();
      return absl::OkStatus();
    });
    EXPECT_EQ(vm.Run().error, 0);
    EXPECT_FALSE(ended.HasBeenNotified());
  }
  EXPECT_TRUE(ended.HasBeenNotified());
  ExpectFinished();
}

TEST_F(FakeVcpuTest, MappingKeepsTheVcpuAlive) {
  KvmTestVm vm(&kernel(), true, 0);
  const int fd = kernel().IoctlInt(vm.fd(), KVM_CREATE_VCPU, 0).value;
  void* const run =
      kernel()
          .Mmap(nullptr, kGuestPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
          .value;
  EXPECT_EQ(kernel().Close(fd).error, 0);
  static_cast<kvm_run*>(run)->immediate_exit = 1;
  EXPECT_FALSE(kernel().CheckLeaks().empty());
  EXPECT_EQ(kernel().Munmap(run, kGuestPage).error, 0);
}

TEST_F(FakeVcpuTest, MatchingStoreSignalsAnIoeventfdAndDoesNotExit) {
  KvmTestVm vm(&kernel());
  const int event = kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value;
  const auto assign = [&](uint64_t address, uint32_t flags, uint64_t data) {
    kvm_ioeventfd request{};
    request.addr = address;
    request.len = 4;
    request.fd = event;
    request.flags = flags;
    request.datamatch = data;
    return kernel().Ioctl(vm.fd(), KVM_IOEVENTFD, &request).error;
  };
  constexpr uint32_t kMatch = KVM_IOEVENTFD_FLAG_DATAMATCH;
  EXPECT_EQ(assign(kMmio, kMatch, 7), 0);
  EXPECT_EQ(assign(0x510, KVM_IOEVENTFD_FLAG_PIO, 0), 0);
  SetProgram([](guest::GuestCpu& cpu) {
    cpu.Store(kMmio, 4, 7);
    cpu.Store(kMmio, 4, 8);
    cpu.Store(kMmio, 2, 7);
    cpu.Out(0x510, 4, 99);
    return absl::OkStatus();
  });
  EXPECT_EQ(vm.RunUntilShutdown(), 2);
  uint64_t count = 0;
  EXPECT_EQ(kernel().Read(event, &count, sizeof(count)).value, sizeof(count));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(kernel().kvm().ExitCounts().ioeventfds, 2u);
  EXPECT_EQ(assign(kMmio, kMatch | KVM_IOEVENTFD_FLAG_DEASSIGN, 7), 0);
  EXPECT_EQ(kernel().Close(event).error, 0);
}

// Two vCPUs run on two VMM threads and do not block each other.
TEST_F(FakeVcpuTest, VcpusRunAtOnce) {
  KvmTestVm vm(&kernel(), /*irqchip=*/true, /*vcpus=*/2);
  constexpr int kRounds = 200;
  const auto program = [](uint32_t other) {
    return [other](guest::GuestCpu& cpu) {
      for (int i = 0; i < kRounds; ++i) {
        cpu.Store(kMmio, 4, other);  // The VMM sends an interrupt to it.
        if (!cpu.WaitForInterrupt().has_value()) {
          return absl::DataLossError("an interrupt was lost");
        }
      }
      return absl::OkStatus();
    };
  };
  SetProgram(program(1), 0);
  SetProgram(program(0), 1);
  const auto handler = [&vm](kvm_run& run) {
    vm.SignalMsi({.address = 0xfee00000u | uint64_t{run.mmio.data[0]} << 12,
                  .data = 0x50});
  };
  std::thread second(
      [&] { EXPECT_EQ(vm.RunUntilShutdown(handler, 1), kRounds); });
  EXPECT_EQ(vm.RunUntilShutdown(handler, 0), kRounds);
  second.join();
  ExpectFinished(0);
  ExpectFinished(1);
}

}  // namespace
}  // namespace passthru::fake
