// SPDX-License-Identifier: Apache-2.0
//
// Tests devices behind root ports on the whole path, from a guest with Linux's
// accesses to the simulated kernel.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/guest/linux/linux_pci_resources.h"
#include "passthru/testing/guest/linux/linux_pciehp.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/root_ports.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr pci::Bdf kHostNvme(0, 1, 0, 0);
constexpr pci::Bdf kHostEdu(0, 2, 0, 0);
constexpr pci::Bdf kFirstPort(0, 0, 1, 0);
constexpr pci::Bdf kBehindFirst(0, 1, 0, 0);
constexpr pci::Bdf kBehindSecond(0, 2, 0, 0);

constexpr uint64_t kGuestMemory = uint64_t{4} << 20;

// A machine with two root ports on a host with an NVMe controller and an edu.
class HotPlugTest : public ::testing::Test {
 protected:
  HotPlugTest() {
    AddDevice("testing/fixtures/nvme.textproto", kHostNvme, 1);
    AddDevice("testing/fixtures/edu.textproto", kHostEdu, 2);
    machine_ = *Machine::Create({.syscalls = &host_.kernel(),
                                 .ram_size = 4 * kGuestMemory,
                                 .vcpu_count = 2});
    devices_ = *DeviceManager::Create(
        machine_.get(),
        {.intx = true,
         .root_ports = {{}, {}},
         .on_unplug_request = [this](pci::Bdf) { requested_.Notify(); },
         .on_unplug_permitted =
             [this](pci::Bdf guest) {
               permitted_guest_ = guest;
               permitted_.Notify();
             }});
    before_ = host_.kernel().Resources();
  }

  void AddDevice(const char* fixture, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    CHECK_OK(host_.AddFixture(fixture, std::move(options)));
  }

  absl::StatusOr<pci::Bdf> Plug(pci::Bdf host, size_t port, bool hot) {
    return devices_->Attach({.host = host, .root_port = port, .hot_plug = hot});
  }

  static guest::GuestLayout LayoutOf(unsigned vcpu) {
    return {
        .dma_memory = {.base = (vcpu + 1) * kGuestMemory, .size = kGuestMemory},
        .ecam = {.base = kEcamBase, .size = kEcamSize},
        .config_ports = true,
        .io_window = {.base = kPioBase, .size = kPioSize},
        .memory32_window = {.base = kMmio32Base, .size = kMmio32Size},
        .memory64_window = {.base = kMmio64Base, .size = kMmio64Size},
        .apic_id = static_cast<uint8_t>(vcpu)};
  }

  // Finds the NVMe controller at `bdf`, lets its driver start and calls
  // `while_it_works` between its transfers. The BARs stay where they are if
  // they have a place, and else go into `window`.
  static absl::Status DriveNvme(
      guest::GuestCpu& cpu, guest::GuestMachine& machine, pci::Bdf bdf,
      guest::GuestRange window,
      const std::function<void()>& while_it_works = [] {}) {
    const auto device = guest::ProbeDevice(&machine.config(), bdf, {});
    if (device == nullptr) return absl::NotFoundError(bdf.ToString());
    guest::GuestLayout layout = LayoutOf(0);
    if (window.size != 0) layout.memory32_window = window;
    layout.memory64_window = {};
    guest::PciResources resources(layout);
    resources.Claim(*device);
    PASSTHRU_RETURN_IF_ERROR(resources.AssignUnclaimed(*device));
    PASSTHRU_ASSIGN_OR_RETURN(
        auto nvme, guest::GuestNvme::Start(&machine, device.get(), {}));
    PASSTHRU_RETURN_IF_ERROR(nvme->WriteAndVerify(0, 32, 1));
    while_it_works();
    if (cpu.Stopping()) return absl::CancelledError("stopped");
    PASSTHRU_RETURN_IF_ERROR(nvme->WriteAndVerify(0, 32, 2));
    return nvme->Shutdown();
  }

  using Program = std::function<absl::Status(guest::GuestCpu&)>;
  // Returns a program that ends all waits if `program` fails, so that its error
  // is shown.
  Program Unblocking(Program program, std::vector<absl::Notification*> waits) {
    waits.push_back(&permitted_);
    return [program = std::move(program),
            waits = std::move(waits)](guest::GuestCpu& cpu) {
      absl::Status status = program(cpu);
      if (status.ok()) return status;
      for (absl::Notification* wait : waits) {
        if (!wait->HasBeenNotified()) wait->Notify();
      }
      return status;
    };
  }

  // Runs each program on a vCPU of its own, and meanwhile `vmm`.
  void Run(
      const std::vector<Program>& programs,
      const std::function<void()>& vmm = [] {}) {
    for (unsigned id = 0; id < programs.size(); ++id) {
      host_.kernel().kvm().SetGuestProgram(id, programs[id]);
    }
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < programs.size(); ++id) {
      threads.emplace_back([this, id] {
        VcpuRunner runner(
            {.vcpu = &machine_->vcpu(id),
             .mmio = &machine_->mmio(),
             .pio = &machine_->pio(),
             .on_memory_fault = [this] { devices_->OnMemoryFault(); }});
        EXPECT_THAT(runner.Run(), IsOk());
      });
    }
    vmm();
    for (std::thread& thread : threads) thread.join();
    for (unsigned id = 0; id < programs.size(); ++id) {
      const auto status = host_.kernel().kvm().GuestStatus(id);
      ASSERT_TRUE(status.has_value());
      EXPECT_THAT(*status, IsOk()) << "on vCPU " << id;
    }
  }

  // Accesses from outside of a vCPU.
  uint32_t ReadConfig(pci::Bdf bdf, uint16_t offset) {
    std::vector<uint8_t> data(4);
    machine_->segment().ConfigRead(bdf, offset, absl::MakeSpan(data));
    return data[0] | data[1] << 8 | data[2] << 16 | uint32_t{data[3]} << 24;
  }
  void WriteConfig(pci::Bdf bdf, uint16_t offset, size_t width,
                   uint32_t value) {
    std::vector<uint8_t> data;
    for (size_t i = 0; i < width; ++i) {
      data.push_back(static_cast<uint8_t>(value >> 8 * i));
    }
    machine_->segment().ConfigWrite(bdf, offset, data);
  }
  bool IsMapped(pci::Bdf guest) {
    return devices_->Find(guest)->Describe().bars[0].areas[0].in_guest;
  }
  std::vector<std::string> Leaks() {
    return host_.kernel().CheckLeaks(before_).leaks;
  }

  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  fake::ResourceSnapshot before_;
  absl::Notification requested_;
  absl::Notification permitted_;
  pci::Bdf permitted_guest_;
};

TEST_F(HotPlugTest, ADeviceIsThereFromTheStart) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOkAndHolds(kBehindFirst));
  Run({[](guest::GuestCpu& cpu) -> absl::Status {
    guest::GuestMachine machine(&cpu, LayoutOf(0));
    const auto device = guest::ProbeDevice(&machine.config(), kBehindFirst, {});
    if (device == nullptr) return absl::NotFoundError("no device");
    // An endpoint with a link, and not one in the root complex.
    const uint16_t express = device->FindCapability(0x10);
    if ((device->ReadWord(express + 2) >> 4 & 0xf) != 0) {
      return absl::InternalError("no endpoint");
    }
    return DriveNvme(cpu, machine, kBehindFirst, {});
  }});
  EXPECT_THAT(devices_->Devices(), ::testing::ElementsAre(kBehindFirst));
  EXPECT_THAT(devices_->Detach(kBehindFirst), IsOk());
  EXPECT_THAT(Leaks(), IsEmpty());
}

TEST_F(HotPlugTest, TheGuestMayNumberTheBusAnewUnderTheDriver) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  Run({[](guest::GuestCpu& cpu) -> absl::Status {
    guest::GuestMachine machine(&cpu, LayoutOf(0));
    machine.config().Write(kFirstPort, 0x18, 4, 0x00070700);
    return DriveNvme(cpu, machine, pci::Bdf(0, 7, 0, 0), {});
  }});
  EXPECT_EQ(ReadConfig(kBehindFirst, 0), 0xffffffff);
  EXPECT_NE(ReadConfig(pci::Bdf(0, 7, 0, 0), 0), 0xffffffff);
  // The VMM's name for it stays.
  EXPECT_NE(devices_->Find(kBehindFirst), nullptr);
}

TEST_F(HotPlugTest, BarsAnswerWithinTheWindowsOfThePort) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  const size_t ram = host_.kernel().kvm().Slots().size();
  WriteConfig(kBehindFirst, 0x04, 2, 0x6);
  ASSERT_TRUE(IsMapped(kBehindFirst));
  const uint32_t window = ReadConfig(kFirstPort, 0x20);
  WriteConfig(kFirstPort, 0x20, 4, 0xd010d000);
  EXPECT_FALSE(IsMapped(kBehindFirst));
  EXPECT_EQ(host_.kernel().kvm().Slots().size(), ram);
  WriteConfig(kFirstPort, 0x20, 4, window);
  EXPECT_TRUE(IsMapped(kBehindFirst));
  // Memory Space Enable of the port.
  WriteConfig(kFirstPort, 0x04, 2, 0x4);
  EXPECT_FALSE(IsMapped(kBehindFirst));
  WriteConfig(kFirstPort, 0x04, 2, 0x6);
  EXPECT_TRUE(IsMapped(kBehindFirst));
}

TEST_F(HotPlugTest, ADeviceThatMovesOutOfTheWindowsDoesNotAnswer) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  WriteConfig(kBehindFirst, 0x04, 2, 0x6);
  const uint32_t bar = ReadConfig(kBehindFirst, 0x10) & ~0xfu;
  WriteConfig(kBehindFirst, 0x10, 4, 0xf0000000);
  EXPECT_EQ(ReadConfig(kBehindFirst, 0x10) & ~0xfu, 0xf0000000u);
  EXPECT_FALSE(IsMapped(kBehindFirst));
  EXPECT_EQ(devices_->Find(kBehindFirst)->Describe().bars[0].problem,
            "its root port does not forward all of 0xf0000000 to 0xf0003fff");
  WriteConfig(kBehindFirst, 0x10, 4, bar);
  EXPECT_TRUE(IsMapped(kBehindFirst));
}

TEST_F(HotPlugTest, ASecondaryBusResetResetsTheDevice) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  WriteConfig(kBehindFirst, 0x04, 2, 0x6);
  host_.kernel().journal().Clear();
  WriteConfig(kFirstPort, 0x3e, 2, 0x40);
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_DEVICE_RESET"), 1u);
  EXPECT_EQ(ReadConfig(kBehindFirst, 0), 0xffffffff);
  WriteConfig(kFirstPort, 0x3e, 2, 0);
  EXPECT_EQ(ReadConfig(kBehindFirst, 0x10) & ~0xfu, 0u);
  EXPECT_EQ(ReadConfig(kBehindFirst, 0x04) & 0x7, 0u);
  EXPECT_FALSE(IsMapped(kBehindFirst));
}

// The guest's driver works on the device before it goes, and again when it is
// plugged the second time.
TEST_F(HotPlugTest, PlugAndUnplugWhileTheGuestRuns) {
  absl::Notification ready;
  absl::Notification working;
  absl::Notification gone;
  absl::Notification seen_empty;
  absl::Notification works_again;
  const Program guest = [&](guest::GuestCpu& cpu) -> absl::Status {
    guest::GuestMachine machine(&cpu, LayoutOf(0));
    const auto port = guest::ProbeDevice(&machine.config(), kFirstPort, {});
    if (port == nullptr) return absl::NotFoundError("no port");
    PASSTHRU_ASSIGN_OR_RETURN(auto pciehp,
                              guest::LinuxPciehp::Start(&machine, port.get()));
    ready.Notify();
    for (absl::Notification* driven : {&working, &works_again}) {
      PASSTHRU_RETURN_IF_ERROR(pciehp->TurnOnNextCard());
      const pci::Bdf bdf(0, pciehp->secondary_bus(), 0, 0);
      PASSTHRU_RETURN_IF_ERROR(
          DriveNvme(cpu, machine, bdf, pciehp->memory_window()));
      driven->Notify();
      if (driven == &works_again) break;
      PASSTHRU_RETURN_IF_ERROR(pciehp->WaitForButton());
      pciehp->TurnOff();
      gone.WaitForNotification();
      if (pciehp->card_present()) return absl::InternalError("a card");
      seen_empty.Notify();
    }
    pciehp->Stop();
    return absl::OkStatus();
  };
  Run({Unblocking(guest, {&ready, &working, &seen_empty, &works_again})}, [&] {
    ready.WaitForNotification();
    EXPECT_THAT(Plug(kHostNvme, 0, true), IsOkAndHolds(kBehindFirst));
    working.WaitForNotification();
    EXPECT_THAT(devices_->RequestUnplug(kBehindFirst), IsOk());
    permitted_.WaitForNotification();
    EXPECT_EQ(permitted_guest_, kBehindFirst);
    EXPECT_THAT(devices_->Detach(kBehindFirst), IsOk());
    EXPECT_THAT(Leaks(), IsEmpty());
    gone.Notify();
    seen_empty.WaitForNotification();
    EXPECT_THAT(Plug(kHostNvme, 0, true), IsOk());
    works_again.WaitForNotification();
  });
}

// A vCPU reads the BAR all the time, until it reads all ones.
TEST_F(HotPlugTest, SurpriseRemovalWhileAnotherVcpuIsInTheBar) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  absl::Notification ready;
  absl::Notification reading;
  const Program watcher = [&](guest::GuestCpu& cpu) -> absl::Status {
    guest::GuestMachine machine(&cpu, LayoutOf(0));
    const auto port = guest::ProbeDevice(&machine.config(), kFirstPort, {});
    PASSTHRU_ASSIGN_OR_RETURN(auto pciehp,
                              guest::LinuxPciehp::Start(&machine, port.get()));
    ready.Notify();
    PASSTHRU_RETURN_IF_ERROR(pciehp->WaitForLinkDown());
    if (pciehp->card_present()) return absl::InternalError("a card");
    pciehp->TurnOff();
    pciehp->Stop();
    return absl::OkStatus();
  };
  const Program reader = [&](guest::GuestCpu& cpu) -> absl::Status {
    // Meanwhile the probe of the port turns its decoding off for a moment.
    ready.WaitForNotification();
    guest::EcamConfigAccess config(&cpu, LayoutOf(1).ecam);
    config.Write(kBehindFirst, 0x04, 2, 0x6);
    const uint64_t bar = config.Read(kBehindFirst, 0x10, 4) & ~0xfu;
    // NVMe's version, whose value is never all ones.
    if (cpu.Load(bar + 8, 4) == 0xffffffff) {
      return absl::InternalError("the BAR does not answer");
    }
    reading.Notify();
    while (cpu.Load(bar + 8, 4) != 0xffffffff && !cpu.Stopping()) {
    }
    return absl::OkStatus();
  };
  Run({Unblocking(watcher, {&ready, &reading}),
       Unblocking(reader, {&ready, &reading})},
      [&] {
        ready.WaitForNotification();
        reading.WaitForNotification();
        EXPECT_THAT(devices_->Detach(kBehindFirst), IsOk());
      });
  EXPECT_THAT(Leaks(), IsEmpty());
}

TEST_F(HotPlugTest, TheHostsRequestBecomesAnUnplug) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  // Attention button and hot-plug interrupts, with the slot on.
  WriteConfig(kFirstPort, 0x78, 2, 0x11e1);
  ASSERT_THAT(host_.vfio().RequestRelease(kHostNvme), IsOk());
  requested_.WaitForNotification();
  EXPECT_EQ(ReadConfig(kFirstPort, 0x78) >> 16 & 1, 1u) << "the button";
  EXPECT_THAT(devices_->RequestUnplug(kBehindFirst),
              StatusIs(absl::StatusCode::kAlreadyExists));
  WriteConfig(kFirstPort, 0x78, 2, 0x17e1);
  permitted_.WaitForNotification();
  EXPECT_THAT(devices_->Detach(kBehindFirst), IsOk());
  EXPECT_THAT(Leaks(), IsEmpty());
}

TEST_F(HotPlugTest, WithoutMsiThePortRaisesThePinOfItsSlot) {
  WriteConfig(kFirstPort, 0x78, 2, 0x17e3);
  fake::FakeKvm& kvm = host_.kernel().kvm();
  ASSERT_THAT(Plug(kHostNvme, 0, true), IsOk());
  EXPECT_TRUE(kvm.LineLevel(IntxGsi(kFirstPort.device())));
  WriteConfig(kFirstPort, 0x7a, 2, 0x0001);
  EXPECT_FALSE(kvm.LineLevel(IntxGsi(kFirstPort.device())));
}

TEST_F(HotPlugTest, AMachineThatResetsDuringAnUnplugGivesTheDeviceBack) {
  const pci::Bdf other(0, 3, 0, 0);
  AddDevice("testing/fixtures/nvme.textproto", other, 3);
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  ASSERT_THAT(Plug(other, 1, false), IsOkAndHolds(kBehindSecond));
  const uint32_t bar = ReadConfig(kBehindSecond, 0x10);
  ASSERT_THAT(devices_->RequestUnplug(kBehindFirst), IsOk());
  WriteConfig(pci::Bdf(0, 0, 2, 0), 0x18, 4, 0x00090900);
  ASSERT_THAT(devices_->Reset(), IsOk());
  EXPECT_EQ(devices_->Find(kBehindFirst), nullptr);
  EXPECT_FALSE(devices_->root_ports().port(0).card_present());
  EXPECT_EQ(ReadConfig(kFirstPort, 0x78) >> 16, 0u);
  // The other one is where firmware puts it.
  EXPECT_EQ(ReadConfig(kBehindSecond, 0x10), bar);
  EXPECT_TRUE(devices_->root_ports().port(1).link_active());
}

TEST_F(HotPlugTest, AGuestThatDoesNotAnswerLosesTheDeviceAnyway) {
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  ASSERT_THAT(devices_->RequestUnplug(kBehindFirst), IsOk());
  EXPECT_FALSE(permitted_.HasBeenNotified());
  EXPECT_THAT(devices_->Detach(kBehindFirst), IsOk());
  EXPECT_EQ(ReadConfig(kBehindFirst, 0), 0xffffffff);
  EXPECT_THAT(Leaks(), IsEmpty());
  EXPECT_THAT(devices_->RequestUnplug(kBehindFirst),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(HotPlugTest, ACardOfTwoFunctionsGoesAsAWhole) {
  const pci::Bdf second(0, 1, 0, 1);
  EXPECT_THAT(
      devices_->Attach({.host = kHostEdu, .guest = second, .root_port = 0}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("attach that one first")));
  ASSERT_THAT(Plug(kHostNvme, 0, false), IsOk());
  ASSERT_THAT(
      devices_->Attach({.host = kHostEdu, .guest = second, .root_port = 0}),
      IsOkAndHolds(second));
  EXPECT_EQ(ReadConfig(kBehindFirst, 0x0c) >> 16 & 0xff, 0x80u);
  EXPECT_THAT(devices_->Detach(second), IsOk());
  EXPECT_THAT(devices_->Devices(), IsEmpty());
  EXPECT_THAT(Leaks(), IsEmpty());
}

TEST_F(HotPlugTest, PlacesThatMakeNoSenseAreRefused) {
  EXPECT_THAT(Plug(kHostNvme, 2, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no root port 2: the machine has 2")));
  EXPECT_THAT(devices_->Attach({.host = kHostNvme, .hot_plug = true}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("only behind a root port")));
  EXPECT_THAT(devices_->Attach(
                  {.host = kHostNvme, .guest = kBehindSecond, .root_port = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not behind root port 0")));
  EXPECT_THAT(devices_->Attach({.host = kHostNvme,
                                .guest = pci::Bdf(0, 1, 0, 1),
                                .root_port = 0,
                                .hot_plug = true}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("only function 0")));
  ASSERT_THAT(Plug(kHostNvme, 0, true), IsOk());
  EXPECT_THAT(Plug(kHostEdu, 0, true),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(devices_->RequestUnplug(pci::Bdf(0, 0, 5, 0)),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace passthru::vmm
