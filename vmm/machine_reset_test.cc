// SPDX-License-Identifier: Apache-2.0
//
// Resets of a machine with devices that share a slot on the host and can only
// be reset together.

#include <linux/vfio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Calls a function before each hot reset, as something that happens on the host
// between the user's list of functions and the reset of them.
class BeforeHotReset : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* argument) override {
    if (request == VFIO_DEVICE_PCI_HOT_RESET && then != nullptr) {
      std::exchange(then, nullptr)();
    }
    return ForwardingSyscalls::Ioctl(fd, request, argument);
  }

  std::function<void()> then;
};

// A host with an xHCI controller and a pvscsi as functions 0 and 1 of slot
// 05:00, in groups 20 and 21, and an NVMe controller at 02:00.0.
class MachineResetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Plug("xhci", xhci_, 20);
    Plug("pvscsi", pvscsi_, 21);
    Plug("nvme", nvme_, 7);
    auto machine = Machine::Create({.syscalls = &syscalls_});
    ASSERT_THAT(machine, IsOk());
    machine_ = *std::move(machine);
    auto manager = DeviceManager::Create(machine_.get());
    ASSERT_THAT(manager, IsOk());
    manager_ = *std::move(manager);
  }
  void TearDown() override {
    manager_.reset();
    machine_.reset();
    EXPECT_THAT(host_.kernel().CheckLeaks().leaks, IsEmpty());
  }

  void Plug(const std::string& name, pci::Bdf bdf, uint32_t group) {
    auto fixture =
        fixture::LoadFixture("testing/fixtures/" + name + ".textproto");
    ASSERT_THAT(fixture, IsOk());
    if (bdf.bus() == xhci_.bus()) {
      fixture->mutable_reset()->set_hot_reset_errno(0);
    }
    ASSERT_THAT(host_.vfio().AddDevice(*fixture, {.bdf = bdf, .group = group}),
                IsOk());
  }
  // Attaches a device and turns its memory and its DMA on.
  pci::Bdf Attach(pci::Bdf host) {
    const absl::StatusOr<pci::Bdf> guest = manager_->Attach(host);
    EXPECT_THAT(guest, IsOk());
    if (!guest.ok()) return pci::Bdf();
    const std::vector<uint8_t> on = {0x06, 0x00};
    machine_->segment().ConfigWrite(*guest, 0x04, on);
    return *guest;
  }
  fake::FakeVfioDevice::Snapshot Host(pci::Bdf bdf) {
    return *host_.vfio().Snapshot(bdf);
  }
  size_t Count(std::string_view call) {
    return host_.kernel().journal().Count(call);
  }
  uint16_t Command(pci::Bdf guest) {
    std::vector<uint8_t> bytes(2);
    machine_->segment().ConfigRead(guest, 0x04, absl::MakeSpan(bytes));
    return static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
  }
  uint32_t Bar0(pci::Bdf guest) {
    std::vector<uint8_t> bytes(4);
    machine_->segment().ConfigRead(guest, 0x10, absl::MakeSpan(bytes));
    return uint32_t{bytes[0]} | uint32_t{bytes[1]} << 8 |
           uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
  }

  const pci::Bdf xhci_{0, 5, 0, 0};
  const pci::Bdf pvscsi_{0, 5, 0, 1};
  const pci::Bdf nvme_{0, 2, 0, 0};
  fake::SimulatedHost host_;
  BeforeHotReset syscalls_{&host_.kernel()};
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
};

TEST_F(MachineResetTest, ABusIsResetOnceForAllItsFunctions) {
  const pci::Bdf xhci = Attach(xhci_);
  const pci::Bdf pvscsi = Attach(pvscsi_);
  const pci::Bdf nvme = Attach(nvme_);
  const std::vector<uint32_t> bars = {Bar0(xhci), Bar0(pvscsi), Bar0(nvme)};
  const std::vector<uint64_t> before = {
      Host(xhci_).resets, Host(pvscsi_).resets, Host(nvme_).resets};
  ASSERT_EQ(host_.kernel().kvm().Slots().size(), 4u) << "RAM and three BARs";
  host_.kernel().journal().Clear();

  EXPECT_THAT(manager_->Reset(), IsOk());
  EXPECT_EQ(Count("VFIO_DEVICE_PCI_HOT_RESET"), 1u);
  EXPECT_EQ(Count("VFIO_DEVICE_RESET"), 1u) << "that of the NVMe controller";
  EXPECT_EQ(Host(xhci_).resets, before[0] + 1);
  EXPECT_EQ(Host(pvscsi_).resets, before[1] + 1);
  EXPECT_EQ(Host(nvme_).resets, before[2] + 1);
  EXPECT_EQ(host_.kernel().kvm().Slots().size(), 1u) << "RAM";
  for (const pci::Bdf guest : {xhci, pvscsi, nvme}) {
    EXPECT_EQ(Command(guest) & 0x7, 0);
  }
  EXPECT_THAT((std::vector<uint32_t>{Bar0(xhci), Bar0(pvscsi), Bar0(nvme)}),
              testing::ElementsAreArray(bars))
      << "firmware places the BARs again";
}

// The kernel takes the pages of all mappings away, so no slot may be left over
// any function of the bus.
TEST_F(MachineResetTest, TheSlotsOfAllFunctionsGoBeforeTheReset) {
  Attach(xhci_);
  Attach(pvscsi_);
  size_t slots = 0;
  bool bus_master = true;
  syscalls_.then = [&] {
    slots = host_.kernel().kvm().Slots().size();
    bus_master = Host(xhci_).bus_master || Host(pvscsi_).bus_master;
  };
  EXPECT_THAT(manager_->Reset(), IsOk());
  EXPECT_EQ(slots, 1u) << "RAM";
  EXPECT_FALSE(bus_master);
}

TEST_F(MachineResetTest, AFunctionThatIsNotTheVmsIsNamed) {
  const pci::Bdf xhci = Attach(xhci_);
  Attach(nvme_);
  const uint64_t before = Host(nvme_).resets;
  EXPECT_THAT(manager_->Reset(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("0000:05:00.0 is not reset"),
                             HasSubstr("0000:05:00.1 (group 21)"))));
  EXPECT_EQ(Count("VFIO_DEVICE_PCI_HOT_RESET"), 0u);
  EXPECT_EQ(Host(nvme_).resets, before + 1) << "the others are reset";
  EXPECT_FALSE(Host(xhci_).bus_master);
  EXPECT_EQ(Command(xhci) & 0x7, 0);

  Attach(pvscsi_);
  EXPECT_THAT(manager_->Reset(), IsOk());
}

// Another function comes between the list and the reset. The kernel refuses
// the first reset, because its group is not there.
TEST_F(MachineResetTest, AFunctionThatComesMeanwhileIsSeen) {
  Attach(xhci_);
  Attach(pvscsi_);
  syscalls_.then = [this] { Plug("edu", pci::Bdf(0, 5, 0, 2), 22); };
  EXPECT_THAT(manager_->Reset(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("0000:05:00.2 (group 22)")));
}

TEST_F(MachineResetTest, AFunctionOfOursThatComesMeanwhileIsResetToo) {
  Attach(xhci_);
  Attach(pvscsi_);
  const pci::Bdf late(0, 5, 0, 2);
  syscalls_.then = [&] {
    Plug("edu", late, 21);
    ASSERT_THAT(host_.vfio().SetDriver(late, ""), IsOk());
    syscalls_.then = [&] {
      ASSERT_THAT(host_.vfio().SetDriver(late, "vfio-pci"), IsOk());
    };
  };
  EXPECT_THAT(manager_->Reset(), IsOk());
  EXPECT_EQ(Host(late).resets, 1u);
}

TEST_F(MachineResetTest, OneDeviceTakesItsNeighboursWithIt) {
  const pci::Bdf xhci = Attach(xhci_);
  const pci::Bdf pvscsi = Attach(pvscsi_);
  const auto device = manager_->Find(pvscsi);
  const auto other = manager_->Find(xhci);
  EXPECT_THAT(device->Reset({other.get()}), IsOk());
  EXPECT_EQ(Command(xhci) & 0x7, 0);
  EXPECT_EQ(device->Describe().resets, 1u);
  EXPECT_EQ(other->Describe().resets, 1u);
  EXPECT_THAT(device->Reset(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("0000:05:00.0 (group 20)")))
      << "without the neighbour it is not the VM's";
}

TEST_F(MachineResetTest, AReportNamesTheNeighbours) {
  const pci::Bdf xhci = Attach(xhci_);
  EXPECT_THAT(vfio_pci::ToLines(manager_->Find(xhci)->Describe()),
              Contains("Reset: hot reset of its slot or bus, together with "
                       "0000:05:00.1 (group 21)"));
}

// A card of two functions behind a root port, whose bus the guest resets.
class BehindAPortTest : public MachineResetTest {
 protected:
  void SetUp() override {
    MachineResetTest::SetUp();
    manager_.reset();
    manager_ = *DeviceManager::Create(machine_.get(), {.root_ports = {{}}});
  }
  // The devices have names that are not their addresses.
  void AttachBehind(pci::Bdf host, uint8_t function) {
    EXPECT_THAT(manager_->Attach({.host = host,
                                  .guest = pci::Bdf(0, 1, 0, function),
                                  .root_port = 0,
                                  .device = {.name = "card"}}),
                IsOk());
  }
  void ResetBus() {
    const std::vector<uint8_t> bus_reset = {0x40, 0x00};
    machine_->segment().ConfigWrite(pci::Bdf(0, 0, 1, 0), 0x3e, bus_reset);
  }
};

TEST_F(BehindAPortTest, AResetOfTheBusResetsAllItsFunctions) {
  AttachBehind(xhci_, 0);
  AttachBehind(pvscsi_, 1);
  const uint64_t before = Host(pvscsi_).resets;
  ResetBus();
  EXPECT_GT(Host(pvscsi_).resets, before);
  EXPECT_EQ(manager_->failures().count(), 0u);
}

TEST_F(BehindAPortTest, AFunctionThatTheGuestHasElsewhereIsNotReset) {
  AttachBehind(xhci_, 0);
  Attach(pvscsi_);
  const uint64_t before = Host(pvscsi_).resets;
  ResetBus();
  EXPECT_EQ(Host(pvscsi_).resets, before);
  EXPECT_TRUE(Host(pvscsi_).bus_master);
  EXPECT_THAT(manager_->failures().Recent(),
              Contains(HasSubstr("a hot reset would reset 0000:05:00.1")));
}

// After the reset both work as before.
TEST_F(MachineResetTest, TheGuestUsesTheDevicesAgain) {
  const pci::Bdf xhci = Attach(xhci_);
  const pci::Bdf pvscsi = Attach(pvscsi_);
  ASSERT_THAT(manager_->Reset(), IsOk());
  const std::vector<uint8_t> on = {0x06, 0x00};
  for (const pci::Bdf guest : {xhci, pvscsi}) {
    machine_->segment().ConfigWrite(guest, 0x04, on);
    EXPECT_THAT(manager_->Find(guest)->Describe().degraded, IsEmpty());
  }
  EXPECT_EQ(host_.kernel().kvm().Slots().size(), 3u);
}

TEST_F(MachineResetTest, ADeviceThatDoesNotComeBackIsNamed) {
  const pci::Bdf xhci = Attach(xhci_);
  const pci::Bdf pvscsi = Attach(pvscsi_);
  ASSERT_THAT(host_.vfio().DieAtNextReset(pvscsi_), IsOk());
  EXPECT_THAT(manager_->Reset(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("0000:05:00.1 does not answer")));
  EXPECT_THAT(manager_->Find(xhci)->Describe().degraded, IsEmpty());
  EXPECT_THAT(manager_->Find(pvscsi)->Describe().degraded, Not(IsEmpty()));
}

}  // namespace
}  // namespace passthru::vmm
