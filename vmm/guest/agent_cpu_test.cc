// SPDX-License-Identifier: Apache-2.0
//
// Runs the agent on this machine's own KVM. The test simulates nothing, so it
// also shows that Machine and VcpuRunner work on a real kernel.

#include "passthru/vmm/guest/agent_cpu.h"

#include <fcntl.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using ::testing::ElementsAre;

constexpr uint64_t kFreeRam = kAgentReserved;

// A bus device that returns the bytes last written to it.
class Scratch final : public bus::BusDevice {
 public:
  std::string_view name() const override { return "scratch"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override {
    for (size_t i = 0; i < data.size(); ++i) data[i] = bytes_[offset + i];
    accesses.push_back(absl::StrCat("read ", offset, "+", data.size()));
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    for (size_t i = 0; i < data.size(); ++i) bytes_[offset + i] = data[i];
    accesses.push_back(absl::StrCat("write ", offset, "+", data.size()));
    return absl::OkStatus();
  }

  std::vector<std::string> accesses;

 private:
  std::map<uint64_t, uint8_t> bytes_;
};

class AgentCpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto opened = kernel_.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (!opened.ok()) {
      GTEST_SKIP() << "SKIPPED: no usable /dev/kvm on this machine: "
                   << std::strerror(opened.error);
    }
    kernel_.Close(opened.value);
    auto machine = Machine::Create({.syscalls = &kernel_});
    ASSERT_THAT(machine, IsOk());
    machine_ = *std::move(machine);
    auto agent = AgentCpu::Create(machine_.get());
    ASSERT_THAT(agent, IsOk());
    agent_ = *std::move(agent);
    runner_ = std::make_unique<VcpuRunner>(
        VcpuRunner::Options{.vcpu = &machine_->vcpu(0),
                            .mmio = &machine_->mmio(),
                            .pio = &machine_->pio()});
  }

  // Runs the vCPU on this thread until the guest ends, and returns the
  // program's status.
  absl::Status Run(guest::GuestProgram program) {
    agent_->Start(std::move(program), [this] { runner_->Stop(); });
    const absl::Status vcpu = runner_->Run();
    if (!vcpu.ok()) agent_->Stop();
    const absl::Status status = agent_->Join();
    return vcpu.ok() ? status : vcpu;
  }

  kernel::LinuxSyscalls kernel_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<AgentCpu> agent_;
  std::unique_ptr<VcpuRunner> runner_;
};

TEST_F(AgentCpuTest, GuestReachesMappedMemoryAtEveryWidthWithoutAnExit) {
  // As a mapped BAR would be: beyond RAM, so that the agent does the access.
  auto memory = kernel::MappedRegion::Allocate(&kernel_, 0x1000, "BAR");
  ASSERT_THAT(memory, IsOk());
  auto area =
      machine_->memory().Add({.guest = memory::GuestAddress(kMmio64Base),
                              .size = memory->size(),
                              .host = memory->data(),
                              .kind = memory::MemoryArea::Kind::kDeviceBar,
                              .name = "BAR"});
  ASSERT_THAT(area, IsOk());
  const absl::Status status = Run([](guest::GuestCpu& cpu) {
    cpu.Store(kMmio64Base, 8, 0x1122334455667788);
    EXPECT_EQ(cpu.Load(kMmio64Base, 8), 0x1122334455667788u);
    EXPECT_EQ(cpu.Load(kMmio64Base + 1, 1), 0x77u);
    EXPECT_EQ(cpu.Load(kMmio64Base + 2, 2), 0x5566u);
    EXPECT_EQ(cpu.Load(kMmio64Base + 4, 4), 0x11223344u);
    cpu.Store(kMmio64Base, 1, 0xaa);
    cpu.Store(kMmio64Base + 2, 2, 0xbbcc);
    cpu.Store(kMmio64Base + 4, 4, 0xddeeff00);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, IsOk());
  uint64_t value = 0;
  std::memcpy(&value, memory->data(), sizeof(value));
  EXPECT_EQ(value, 0xddeeff00bbcc77aau);
  EXPECT_EQ(runner_->counts().total(), agent_->agent_exits());
  EXPECT_THAT(machine_->memory().Remove(*area), IsOk());
}

TEST_F(AgentCpuTest, LoadsAndStoresReachRamAtEveryWidth) {
  const absl::Status status = Run([](guest::GuestCpu& cpu) {
    cpu.Store(kFreeRam, 8, 0x1122334455667788);
    EXPECT_EQ(cpu.Load(kFreeRam, 8), 0x1122334455667788u);
    EXPECT_EQ(cpu.Load(kFreeRam + 1, 1), 0x77u);
    EXPECT_EQ(cpu.Load(kFreeRam + 2, 2), 0x5566u);
    EXPECT_EQ(cpu.Load(kFreeRam + 4, 4), 0x11223344u);
    cpu.Store(kFreeRam, 1, 0xaa);
    cpu.Store(kFreeRam + 2, 2, 0xbbcc);
    cpu.Store(kFreeRam + 4, 4, 0xddeeff00);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, IsOk());
  uint64_t value = 0;
  std::memcpy(&value, machine_->ram().data() + kFreeRam, sizeof(value));
  EXPECT_EQ(value, 0xddeeff00bbcc77aau);
  EXPECT_EQ(runner_->counts().mmio_reads + runner_->counts().mmio_writes, 0u);
}

TEST_F(AgentCpuTest, MmioAndPortsReachTheBusesWithTheirWidth) {
  const auto memory = std::make_shared<Scratch>();
  const auto ports = std::make_shared<Scratch>();
  ASSERT_THAT(machine_->mmio().Add(kMmio64Base, 0x1000, memory, 0), IsOk());
  ASSERT_THAT(machine_->pio().Add(kPioBase, 0x10, ports, 0), IsOk());
  const absl::Status status = Run([](guest::GuestCpu& cpu) {
    cpu.Store(kMmio64Base + 8, 8, 0x8877665544332211);
    EXPECT_EQ(cpu.Load(kMmio64Base + 8, 4), 0x44332211u);
    EXPECT_EQ(cpu.Load(kMmio64Base + 8, 8), 0x8877665544332211u);
    cpu.Out(kPioBase + 4, 2, 0xbeef);
    EXPECT_EQ(cpu.In(kPioBase + 4, 1), 0xefu);
    cpu.Out(kPioBase, 4, 0x01020304);
    EXPECT_EQ(cpu.In(kPioBase, 4), 0x01020304u);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(memory->accesses,
              ElementsAre("write 8+8", "read 8+4", "read 8+8"));
  EXPECT_THAT(ports->accesses,
              ElementsAre("write 4+2", "read 4+1", "write 0+4", "read 0+4"));
  EXPECT_EQ(runner_->counts().mmio_reads, 2u);
  EXPECT_EQ(runner_->counts().mmio_writes, 1u);
  EXPECT_EQ(runner_->counts().io_writes, 2 + agent_->agent_exits());
}

TEST_F(AgentCpuTest, BothConfigurationMechanismsFindTheHostBridge) {
  const absl::Status status = Run([](guest::GuestCpu& cpu) {
    cpu.Out(kPciConfigPort, 4, 0x80000000);
    EXPECT_EQ(cpu.In(kPciConfigPort + 4, 4), 0x29c08086u);
    EXPECT_EQ(cpu.Load(kEcamBase, 4), 0x29c08086u);
    EXPECT_EQ(cpu.Load(kEcamBase + (uint64_t{1} << 15), 4), 0xffffffffu);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, IsOk());
}

TEST_F(AgentCpuTest, TakesMessagesInOrderOfArrival) {
  std::vector<uint32_t> taken;
  const absl::Status status = Run([&](guest::GuestCpu& cpu) {
    // The agent's first instructions enable the local APIC. The agent has
    // executed them when it answers a command.
    cpu.In(kPciConfigPort, 4);
    // A message that arrives before the program waits stays pending there.
    EXPECT_THAT(machine_->vm().SignalMsi({.address = 0xfee00000, .data = 0x41}),
                IsOk());
    auto interrupt = cpu.WaitForInterrupt();
    if (interrupt.has_value()) taken.push_back(interrupt->data);
    std::thread device([&] {
      EXPECT_THAT(
          machine_->vm().SignalMsi({.address = 0xfee00000, .data = 0x42}),
          IsOk());
    });
    interrupt = cpu.WaitForInterrupt();
    if (interrupt.has_value()) taken.push_back(interrupt->data);
    device.join();
    return absl::OkStatus();
  });
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(taken, ElementsAre(0x41u, 0x42u));
}

TEST_F(AgentCpuTest, ProgramsStatusComesBack) {
  EXPECT_THAT(Run([](guest::GuestCpu&) {
                return absl::DataLossError("the device is on fire");
              }),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(AgentCpuTest, ExceptionInTheGuestEndsTheProgram) {
  // The agent does not map this address, so the load is a page fault, which is
  // vector 14.
  const absl::Status status = Run([](guest::GuestCpu& cpu) {
    EXPECT_EQ(cpu.Load(uint64_t{1} << 45, 4), ~uint64_t{0});
    EXPECT_TRUE(cpu.Stopping());
    EXPECT_EQ(cpu.WaitForInterrupt(), std::nullopt);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               ::testing::HasSubstr("exception 14")));
}

}  // namespace
}  // namespace passthru::vmm
