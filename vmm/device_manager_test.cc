// SPDX-License-Identifier: Apache-2.0

#include "passthru/vmm/device_manager.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capability_id.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr char kEdu[] = "testing/fixtures/edu.textproto";
constexpr pci::Bdf kSlot1(0, 0, 1, 0);
constexpr pci::Bdf kSlot2(0, 0, 2, 0);

// A machine on a host with an NVMe controller at 01:00.0 and an edu at 02:00.0.
// TearDown() checks that the machine leaves nothing in the kernel.
class DeviceManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    AddDevice(kNvme, nvme_, 1);
    AddDevice(kEdu, edu_, 2);
    CreateMachine();
  }

  void CreateMachine() {
    auto machine = Machine::Create({.syscalls = &host().kernel()});
    ASSERT_THAT(machine, IsOk());
    machine_ = *std::move(machine);
    auto manager = DeviceManager::Create(machine_.get());
    ASSERT_THAT(manager, IsOk());
    manager_ = *std::move(manager);
    with_machine_ = host().kernel().Resources();
  }

  void TearDown() override {
    manager_.reset();
    EXPECT_THAT(Leaks(), IsEmpty());
    machine_.reset();
    EXPECT_THAT(host().kernel().CheckLeaks().leaks, IsEmpty());
  }

  void AddDevice(const std::string& fixture, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    ASSERT_THAT(host().AddFixture(fixture, std::move(options)), IsOk());
  }

  fake::SimulatedHost& host() { return *host_; }

  // Returns the kernel resources beyond those of the machine itself.
  std::vector<std::string> Leaks() {
    return host().kernel().CheckLeaks(with_machine_).leaks;
  }

  const pci::Bdf nvme_{0, 1, 0, 0};
  const pci::Bdf edu_{0, 2, 0, 0};
  std::unique_ptr<fake::SimulatedHost> host_ =
      std::make_unique<fake::SimulatedHost>();
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
  fake::ResourceSnapshot with_machine_;
};

TEST_F(DeviceManagerTest, DevicesGetSlotsInOrderAndGiveThemBack) {
  EXPECT_THAT(manager_->Attach(nvme_), absl_testing::IsOkAndHolds(kSlot1));
  EXPECT_THAT(manager_->Attach(edu_), absl_testing::IsOkAndHolds(kSlot2));
  EXPECT_THAT(manager_->Devices(), ElementsAre(kSlot1, kSlot2));
  EXPECT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_EQ(manager_->Find(kSlot1), nullptr);
  EXPECT_THAT(manager_->Attach(nvme_), absl_testing::IsOkAndHolds(kSlot1));
}

// A function that answers nothing but its place.
class EmptyFunction final : public pci_host::PciFunction {
 public:
  uint32_t ConfigRead(uint16_t, unsigned) override { return ~uint32_t{0}; }
  void ConfigWrite(uint16_t, absl::Span<const uint8_t>) override {}
};

TEST_F(DeviceManagerTest, SlotsWithFunctionsOfTheMachinesOwnerAreNotFree) {
  ASSERT_THAT(
      machine_->segment().Add(kSlot1, std::make_shared<EmptyFunction>()),
      IsOk());
  EXPECT_THAT(manager_->Attach(nvme_), IsOkAndHolds(kSlot2));
  EXPECT_THAT(manager_->Attach({.host = edu_, .guest = kSlot1}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("attaching 0000:02:00.0"),
                             HasSubstr("0000:00:01.0"))));
  EXPECT_THAT(manager_->Attach(edu_), IsOkAndHolds(pci::Bdf(0, 0, 3, 0)));
}

// Bit 7 of function 0's header type makes the guest look for the others.
TEST_F(DeviceManagerTest, DevicesMayShareASlotOfTheGuest) {
  const pci::Bdf first(0, 0, 9, 0);
  const pci::Bdf second(0, 0, 9, 5);
  const auto header_type = [this](pci::Bdf guest) {
    std::vector<uint8_t> byte(1);
    machine_->segment().ConfigRead(guest, 0x0e, absl::MakeSpan(byte));
    return byte[0];
  };
  EXPECT_THAT(manager_->Attach({.host = edu_, .guest = second}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("0000:00:09.5"),
                             HasSubstr("no function at 0000:00:09.0"))));
  EXPECT_THAT(manager_->Attach({.host = nvme_, .guest = first}),
              IsOkAndHolds(first));
  EXPECT_EQ(header_type(first), 0x00);
  EXPECT_THAT(manager_->Attach({.host = edu_, .guest = second}),
              IsOkAndHolds(second));
  EXPECT_EQ(header_type(first), 0x80);
  EXPECT_EQ(header_type(second), 0x80);
  EXPECT_THAT(manager_->Detach(second), IsOk());
  EXPECT_EQ(header_type(first), 0x00);
}

// A conventional card of two functions, which its group holds together, for
// they have the same requester id behind their bridge.
TEST_F(DeviceManagerTest, BothFunctionsOfAConventionalCardArePassed) {
  const auto add = [this](const char* name) {
    const auto bdf = host().AddFixture(
        absl::StrCat("testing/fixtures/modelled/", name, ".textproto"));
    CHECK_OK(bdf);
    return *bdf;
  };
  const pci::Bdf serial = add("serial_ox16pci954");
  const pci::Bdf bridge = add("bridge_ox16pci954");
  const pci::Bdf first(0, 0, 9, 0);
  const pci::Bdf second(0, 0, 9, 1);
  host().kernel().journal().Clear();
  ASSERT_THAT(manager_->Attach({.host = serial, .guest = first}), IsOk());
  ASSERT_THAT(manager_->Attach({.host = bridge, .guest = second}), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_SET_CONTAINER"), 1u);
  for (const pci::Bdf guest : {first, second}) {
    const auto device = manager_->Find(guest);
    device->ConfigWrite(0x04, std::vector<uint8_t>{0x3, 0x0});
    const auto bars = device->Describe().bars;
    ASSERT_EQ(bars.size(), 4u);
    for (const auto& bar : bars) {
      EXPECT_TRUE(bar.placed);
      EXPECT_EQ(bar.areas.at(0).in_guest, !bar.bar.is_io());
      // Each function answers at its own ports.
      if (!bar.bar.is_io()) continue;
      const uint64_t port = bar.bar.address + 4;
      std::vector<uint8_t> byte = {static_cast<uint8_t>(port >> 5)};
      machine_->pio().Write(port, byte);
    }
  }
  for (const pci::Bdf guest : {first, second}) {
    for (const auto& bar : manager_->Find(guest)->Describe().bars) {
      if (!bar.bar.is_io()) continue;
      const uint64_t port = bar.bar.address + 4;
      std::vector<uint8_t> byte(1);
      machine_->pio().Read(port, absl::MakeSpan(byte));
      EXPECT_EQ(byte[0], static_cast<uint8_t>(port >> 5));
    }
  }
  ASSERT_THAT(manager_->Detach(first), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 0u);
  ASSERT_THAT(manager_->Detach(second), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
}

TEST_F(DeviceManagerTest, APlaceThatTheMachineDoesNotHaveIsRefused) {
  const std::vector<pci::Bdf> places = {pci::Bdf(0, 1, 0, 0),
                                        pci::Bdf(1, 0, 4, 0)};
  for (const pci::Bdf place : places) {
    EXPECT_THAT(manager_->Attach({.host = nvme_, .guest = place}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("0000:01:00.0"),
                               HasSubstr(place.ToString()))));
  }
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_GET_DEVICE_FD"), 0u);
}

// A policy, a name and callbacks reach the device.
TEST_F(DeviceManagerTest, OptionsOfTheDeviceArePassedOn) {
  const absl::StatusOr<pci::Bdf> guest = manager_->Attach(
      {.host = nvme_,
       .device = {.name = "disk",
                  .policy = vfio_pci::CapabilityPolicy().With(
                      pci::CapabilityId::kPowerManagement,
                      vfio_pci::CapabilityTreatment::kHide, "a test")}});
  ASSERT_THAT(guest, IsOk());
  const vfio_pci::DeviceReport report = manager_->Find(*guest)->Describe();
  EXPECT_EQ(report.name, "disk");
  EXPECT_THAT(vfio_pci::ToLines(report),
              Contains(AllOf(HasSubstr("Power Management"),
                             HasSubstr("by the VMM: a test"))));
}

TEST_F(DeviceManagerTest, WhatTheManagerFillsInIsNotTheCallers) {
  EXPECT_THAT(
      manager_->Attach(
          {.host = nvme_, .device = {.vm = {.syscalls = &host().kernel()}}}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("leave both empty")));
}

TEST_F(DeviceManagerTest, AResetPlacesTheBarsAgain) {
  const absl::StatusOr<pci::Bdf> guest = manager_->Attach(nvme_);
  ASSERT_THAT(guest, IsOk());
  const auto address = [&] {
    return manager_->Find(*guest)->Describe().bars[0].bar.address;
  };
  const uint64_t before = address();
  EXPECT_NE(before, 0u);
  const std::vector<uint8_t> elsewhere = {0x04, 0x00, 0x00, 0xd0};
  machine_->segment().ConfigWrite(*guest, 0x10, elsewhere);
  ASSERT_NE(address(), before);
  EXPECT_THAT(manager_->Reset(), IsOk());
  EXPECT_EQ(address(), before);
}

TEST_F(DeviceManagerTest, GuestFindsDeviceOnlyWhileItIsAttached) {
  const auto vendor_and_device = [this] {
    std::vector<uint8_t> id(4);
    machine_->segment().ConfigRead(kSlot1, 0, absl::MakeSpan(id));
    return id;
  };
  EXPECT_THAT(vendor_and_device(), ElementsAre(0xff, 0xff, 0xff, 0xff));
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  EXPECT_THAT(vendor_and_device(), ElementsAre(0x36, 0x1b, 0x10, 0x00));
  ASSERT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_THAT(vendor_and_device(), ElementsAre(0xff, 0xff, 0xff, 0xff));
}

// If KVM refuses to delete the memory slot of a BAR, the mapping must stay and
// keeps the group busy.
TEST_F(DeviceManagerTest, ADeviceWhoseSlotStayedCanBeAttachedAgain) {
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  const std::vector<uint8_t> memory_on = {0x06, 0x00};
  machine_->segment().ConfigWrite(kSlot1, 0x04, memory_on);
  ASSERT_EQ(host().kernel().kvm().Slots().size(), 2u) << "RAM and the BAR";
  host().kernel().faults().FailWhen(
      [](const journal::Call& call) {
        const journal::CallField* const size = call.Find("memory_size");
        return size != nullptr && size->number == 0;
      },
      ENOMEM, journal::FaultInjector::Mode::kSticky);
  EXPECT_THAT(manager_->Detach(kSlot1),
              StatusIs(testing::_,
                       AllOf(HasSubstr("0000:01:00.0"), HasSubstr("ENOMEM"))));
  EXPECT_THAT(manager_->Attach(nvme_),
              StatusIs(testing::_, HasSubstr("EBUSY")));
  host().kernel().faults().Clear();
  EXPECT_THAT(manager_->Attach(nvme_), IsOkAndHolds(kSlot1));
  EXPECT_EQ(host().kernel().kvm().Slots().size(), 1u) << "RAM";
}

TEST_F(DeviceManagerTest, TellsWhatTheHostWantsBackAndWhatIsBroken) {
  absl::Notification unplug;
  absl::Notification error;
  pci::Bdf wanted;
  pci::Bdf broken;
  DeviceManagerOptions options;
  options.on_unplug_request = [&](pci::Bdf guest) {
    wanted = guest;
    unplug.Notify();
  };
  options.on_error = [&](pci::Bdf guest) {
    broken = guest;
    error.Notify();
  };
  manager_ = *DeviceManager::Create(machine_.get(), options);
  ASSERT_THAT(manager_->Attach(edu_), IsOkAndHolds(kSlot1));
  ASSERT_THAT(manager_->Attach(nvme_), IsOkAndHolds(kSlot2));
  ASSERT_THAT(host().vfio().RequestRelease(edu_), IsOk());
  unplug.WaitForNotification();
  EXPECT_EQ(wanted, kSlot1);
  ASSERT_THAT(host().vfio().ReportError(nvme_), IsOk());
  error.WaitForNotification();
  EXPECT_EQ(broken, kSlot2);
  // The callbacks use local variables, so the devices must not outlive these.
  EXPECT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_THAT(manager_->Detach(kSlot2), IsOk());
}

TEST_F(DeviceManagerTest, GuestSeesNoPinThatNobodyTellsItOf) {
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  std::vector<uint8_t> pin(1);
  machine_->segment().ConfigRead(kSlot1, 0x3d, absl::MakeSpan(pin));
  EXPECT_THAT(pin, ElementsAre(0));
}

TEST_F(DeviceManagerTest, PinsReachTheLineOfTheirSlot) {
  auto with_pins = DeviceManager::Create(machine_.get(), {.intx = true});
  ASSERT_THAT(with_pins, IsOk());
  manager_ = *std::move(with_pins);
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  const auto set_pin = [this](bool asserted) {
    ASSERT_THAT(
        host().vfio().WithHardware(edu_,
                                   [&](models::DevicePlatform& hardware) {
                                     hardware.SetIntx(asserted);
                                   }),
        IsOk());
  };
  fake::FakeKvm& kvm = host().kernel().kvm();
  set_pin(true);
  EXPECT_TRUE(kvm.LineLevel(IntxGsi(kSlot2.device())));
  EXPECT_FALSE(kvm.LineLevel(IntxGsi(kSlot1.device())));
  set_pin(false);
  kvm.Acknowledge(IntxGsi(kSlot2.device()));
  EXPECT_FALSE(kvm.LineLevel(IntxGsi(kSlot2.device())));
}

TEST_F(DeviceManagerTest, DevicesOfTwoGroupsShareOneContainer) {
  host().kernel().journal().Clear();
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_SET_IOMMU"), 1u);
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_SET_CONTAINER"), 2u);
  EXPECT_EQ(host().kernel().journal().Count("VFIO_IOMMU_MAP_DMA"), 1u);
  EXPECT_EQ(host().vfio().DmaMappings(nvme_).size(), 1u);
  EXPECT_EQ(host().vfio().DmaMappings(edu_).size(), 1u);
  // The device that stays attached keeps its DMA mapping.
  ASSERT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_EQ(host().vfio().DmaMappings(edu_).size(), 1u);
}

TEST_F(DeviceManagerTest, DevicesOfOneGroupShareItAndTheLastOneClosesIt) {
  const pci::Bdf sibling(0, 2, 0, 1);
  AddDevice(kEdu, sibling, 2);
  host().kernel().journal().Clear();
  ASSERT_THAT(manager_->Attach(edu_), absl_testing::IsOkAndHolds(kSlot1));
  ASSERT_THAT(manager_->Attach(sibling), absl_testing::IsOkAndHolds(kSlot2));
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_SET_CONTAINER"), 1u);
  EXPECT_EQ(host().kernel().journal().Count("KVM_SET_DEVICE_ATTR"), 1u);
  ASSERT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 0u);
  ASSERT_THAT(manager_->Detach(kSlot2), IsOk());
  EXPECT_EQ(host().kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
  EXPECT_THAT(Leaks(), IsEmpty());
}

TEST_F(DeviceManagerTest, BarsOfTwoDevicesHaveSlotsOfTheirOwn) {
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  const size_t ram = host().kernel().kvm().Slots().size();
  const std::vector<uint8_t> decode = {0x2, 0x0};
  manager_->Find(kSlot1)->ConfigWrite(0x04, decode);
  manager_->Find(kSlot2)->ConfigWrite(0x04, decode);
  EXPECT_EQ(host().kernel().kvm().Slots().size(), ram + 2);
  ASSERT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_EQ(host().kernel().kvm().Slots().size(), ram + 1);
}

// Two BARs overlap for a moment when a guest rebalances its bus.
TEST_F(DeviceManagerTest, ABarThatWasInTheWayOfAnotherGoesAndTheOtherIsMapped) {
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  const std::vector<uint8_t> decode = {0x2, 0x0};
  const auto nvme = manager_->Find(kSlot1);
  const auto edu = manager_->Find(kSlot2);
  nvme->ConfigWrite(0x04, decode);
  edu->ConfigWrite(0x04, decode);
  const auto edu_bar = [&edu] { return edu->Describe().bars[0]; };
  const uint64_t edu_at = edu_bar().bar.address;
  ASSERT_THAT(nvme->SetBarAddress(pci::BarIndex(0), edu_at), IsOk());
  EXPECT_FALSE(nvme->Describe().bars[0].areas[0].in_guest);
  // The edu moves away, and the NVMe controller need not be touched again.
  ASSERT_THAT(edu->SetBarAddress(pci::BarIndex(0), edu_at + 0x1000000), IsOk());
  EXPECT_TRUE(edu_bar().areas[0].in_guest);
  EXPECT_TRUE(nvme->Describe().bars[0].areas[0].in_guest);
  EXPECT_THAT(nvme->Describe().degraded, IsEmpty());
  // It moves back, and is in the way of nobody any more when it is unplugged.
  ASSERT_THAT(edu->SetBarAddress(pci::BarIndex(0), edu_at), IsOk());
  EXPECT_FALSE(edu_bar().areas[0].in_guest);
  ASSERT_THAT(manager_->Detach(kSlot1), IsOk());
  EXPECT_TRUE(edu_bar().areas[0].in_guest);
}

TEST_F(DeviceManagerTest, WithoutItsMemoryMappedThereIsNoDevice) {
  host().kernel().faults().FailNthOf("VFIO_IOMMU_MAP_DMA", 1, ENOSPC);
  EXPECT_THAT(manager_->Attach(nvme_),
              StatusIs(::testing::_, AllOf(HasSubstr("VFIO_IOMMU_MAP_DMA"),
                                           HasSubstr("ram"))));
  EXPECT_THAT(Leaks(), IsEmpty());
  EXPECT_THAT(manager_->Attach(nvme_), IsOk());
}

TEST_F(DeviceManagerTest, SameDeviceTwiceIsRefused) {
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  EXPECT_THAT(
      manager_->Attach(nvme_),
      StatusIs(absl::StatusCode::kAlreadyExists,
               AllOf(HasSubstr("0000:01:00.0"), HasSubstr("0000:00:01.0"))));
}

TEST_F(DeviceManagerTest, DeviceThatIsNotThereIsNamed) {
  EXPECT_THAT(manager_->Attach(pci::Bdf(0, 9, 0, 0)),
              StatusIs(::testing::_, HasSubstr("0000:09:00.0")));
}

TEST_F(DeviceManagerTest, HostDriverIsNamedWithTheWayOut) {
  ASSERT_THAT(host().vfio().SetDriver(nvme_, "nvme"), IsOk());
  EXPECT_THAT(
      manager_->Attach(nvme_),
      StatusIs(::testing::_, AllOf(HasSubstr("0000:01:00.0"), HasSubstr("nvme"),
                                   HasSubstr("vfio-pci"))));
}

TEST_F(DeviceManagerTest, SiblingThatBlocksTheGroupIsNamed) {
  const pci::Bdf sibling(0, 2, 0, 1);
  AddDevice(kEdu, sibling, 2);
  ASSERT_THAT(host().vfio().SetDriver(sibling, "snd_hda_intel"), IsOk());
  EXPECT_THAT(manager_->Attach(edu_),
              StatusIs(::testing::_, AllOf(HasSubstr("0000:02:00.1"),
                                           HasSubstr("snd_hda_intel"))));
}

TEST_F(DeviceManagerTest, DetachOfNothingIsNotFound) {
  EXPECT_THAT(manager_->Detach(kSlot1),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("0000:00:01.0")));
}

// --- The process's limit of descriptors.

class DescriptorLimitTest : public DeviceManagerTest {
 protected:
  // Leaves `event_fds` descriptors beyond what the manager keeps free.
  void CreateWith(uint32_t event_fds) {
    manager_.reset();
    machine_.reset();
    host_.reset();
    host_ = std::make_unique<fake::SimulatedHost>(fake::SimulatedHost::Options{
        .kernel = {
            .descriptors = {.rlim_cur = 256 + event_fds, .rlim_max = 524288}}});
    AddDevice(kNvme, nvme_, 1);
    AddDevice(kNvme, second_, 2);
    CreateMachine();
  }
  std::vector<vfio_pci::Degradation> Degraded(pci::Bdf guest) {
    return manager_->Find(guest)->Describe().degraded;
  }

  const pci::Bdf second_{0, 2, 0, 0};
};

TEST_F(DescriptorLimitTest, TheFirstDeviceLeavesEnoughForTheNext) {
  CreateWith(100);
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  ASSERT_THAT(manager_->Attach(second_), IsOk());
  EXPECT_THAT(Degraded(kSlot1), IsEmpty());
  EXPECT_THAT(Degraded(kSlot2), IsEmpty());
}

TEST_F(DescriptorLimitTest, ASmallerTableIsADegradation) {
  CreateWith(20);
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  const auto degraded = Degraded(kSlot1);
  ASSERT_EQ(degraded.size(), 1u);
  EXPECT_EQ(degraded[0].kind, vfio_pci::DegradationKind::kFewerVectors);
  EXPECT_THAT(degraded[0].why, HasSubstr("eventfds"));
}

TEST_F(DescriptorLimitTest, ADeviceThatGetsNoneIsNotAttached) {
  CreateWith(10);
  ASSERT_THAT(manager_->Attach(nvme_), IsOk());
  EXPECT_THAT(
      manager_->Attach(second_),
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("0000:02:00.0"), HasSubstr("no eventfds left"),
                     HasSubstr("RLIMIT_NOFILE"))));
  EXPECT_THAT(manager_->Devices(), ElementsAre(kSlot1));
}

TEST_F(DescriptorLimitTest, ALimitThatCannotBeReadIsReported) {
  manager_.reset();
  host().kernel().faults().FailNthOf("getrlimit", 1, EPERM);
  EXPECT_EQ(kernel::ErrnoOf(DeviceManager::Create(machine_.get()).status()),
            EPERM);
}

// Each system call of an attach fails in turn, until an attach makes no further
// call. A failed attach leaves nothing behind, does not affect the other
// device, and does not prevent another attempt.
TEST_F(DeviceManagerTest, AnyFailingCallLeavesNothingBehind) {
  ASSERT_THAT(manager_->Attach(edu_), IsOk());
  with_machine_ = host().kernel().Resources();
  int failed = 0;
  int degraded = 0;
  for (size_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    host().kernel().faults().Clear();
    host().kernel().faults().FailNth(n, EIO);
    const auto attached = manager_->Attach(nvme_);
    const bool injected = host().kernel().faults().injected() != 0;
    host().kernel().faults().Clear();
    if (attached.ok()) {
      EXPECT_THAT(manager_->Detach(*attached), IsOk());
    } else {
      EXPECT_TRUE(injected) << attached.status();
      EXPECT_THAT(attached.status().message(), HasSubstr("EIO"));
      ++failed;
    }
    ASSERT_THAT(Leaks(), IsEmpty());
    if (!injected) break;
    if (attached.ok()) ++degraded;
  }
  EXPECT_GT(failed, 10);
  // If a BAR cannot be mapped, the VMM traps it and the device works.
  EXPECT_GT(degraded, 0);
  EXPECT_THAT(manager_->Attach(nvme_), IsOk());
  EXPECT_EQ(host().vfio().DmaMappings(edu_).size(), 1u);
  // TearDown() compares with the resources after the manager has detached both
  // devices.
  manager_.reset();
  with_machine_ = host().kernel().Resources();
}

}  // namespace
}  // namespace passthru::vmm
