// SPDX-License-Identifier: Apache-2.0
//
// BARs smaller than a page, from the guest's access to the memory slot. The
// pvpanic has one of 16 bytes, and the tpci200 has three.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/memory/layout_lock.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kOnePage = 0x1000;
constexpr uint64_t kPlace = 0xd0000000;
constexpr pci::Bdf kSmallHost(0, 1, 0, 0);
constexpr pci::Bdf kOtherHost(0, 2, 0, 0);
constexpr pci::BarIndex kFirst(0);

// An emulated device of the VMM, with a register that reads 0x77 in each byte.
class EmulatedDevice final : public bus::BusDevice {
 public:
  std::string_view name() const override { return "emulated"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t> data) override {
    std::fill(data.begin(), data.end(), 0x77);
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }
};

class SmallBarsTest : public ::testing::Test {
 protected:
  SmallBarsTest() {
    AddFixture("testing/fixtures/pvpanic.textproto", kSmallHost, 1);
    machine_ = *Machine::Create({.syscalls = &host_.kernel()});
    manager_ = *DeviceManager::Create(machine_.get());
    small_ = Attach(kSmallHost);
    SetDecode(*small_, true);
    StoreBar(*small_, 0, 0x11111111);
  }

  void AddFixture(const std::string& path, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    CHECK_OK(host_.AddFixture(path, std::move(options)));
  }
  std::shared_ptr<vfio_pci::VfioPciDevice> Attach(pci::Bdf host) {
    const auto guest = manager_->Attach(host);
    CHECK_OK(guest);
    return manager_->Find(*guest);
  }
  // Attaches a device with three small BARs and two large ones.
  void AttachOther() {
    AddFixture("testing/fixtures/tpci200.textproto", kOtherHost, 2);
    other_ = Attach(kOtherHost);
    SetDecode(*other_, true);
    StoreBar(*other_, 0, 0x22222222);
  }
  static void SetDecode(vfio_pci::VfioPciDevice& device, bool on) {
    device.ConfigWrite(0x04,
                       std::vector<uint8_t>{on ? uint8_t{2} : uint8_t{0}, 0});
  }
  static vfio_pci::BarReport Bar(const vfio_pci::VfioPciDevice& device,
                                 uint8_t index) {
    for (const vfio_pci::BarReport& report : device.Describe().bars) {
      if (report.bar.index == pci::BarIndex(index)) return report;
    }
    return {};
  }
  static vfio_pci::BarAreaReport Area(const vfio_pci::VfioPciDevice& device,
                                      uint8_t index) {
    return Bar(device, index).areas.at(0);
  }
  void StoreBar(const vfio_pci::VfioPciDevice& device, uint8_t index,
                uint32_t value) {
    std::vector<uint8_t> bytes(4);
    pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(bytes), 0, value);
    machine_->mmio().Write(Bar(device, index).bar.address, bytes);
  }

  // Runs a program on the vCPU, once in a test, and returns its exits.
  uint64_t RunGuest(guest::GuestProgram program) {
    host_.kernel().kvm().SetGuestProgram(0, std::move(program));
    VcpuRunner runner({.vcpu = &machine_->vcpu(0),
                       .mmio = &machine_->mmio(),
                       .pio = &machine_->pio()});
    CHECK_OK(runner.Run());
    CHECK_OK(host_.kernel().kvm().GuestStatus(0).value());
    return runner.counts().total();
  }
  // Returns the slots of BARs, as "address+size".
  std::vector<std::string> Slots() {
    std::vector<std::string> slots;
    for (const auto& slot : host_.kernel().kvm().Slots()) {
      if (slot.guest_address == 0) continue;  // the RAM
      slots.push_back(absl::StrCat(absl::Hex(slot.guest_address), "+",
                                   absl::Hex(slot.size)));
    }
    return slots;
  }

  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
  std::shared_ptr<vfio_pci::VfioPciDevice> small_;
  std::shared_ptr<vfio_pci::VfioPciDevice> other_;
};

TEST_F(SmallBarsTest, AloneInItsPageItIsReachedWithoutAnExit) {
  const uint64_t address = Bar(*small_, 0).bar.address;
  EXPECT_EQ(address % kOnePage, 0u);
  EXPECT_THAT(Slots(), ElementsAre(absl::StrCat(absl::Hex(address), "+1000")));
  uint64_t read = 0;
  EXPECT_EQ(RunGuest([&](guest::GuestCpu& cpu) {
              read = cpu.Load(address, 4);
              cpu.Store(address + 8, 4, 0x12345678);
              return absl::OkStatus();
            }),
            0u);
  EXPECT_EQ(read, 0x11111111u);
  std::vector<uint8_t> bytes(4);
  machine_->mmio().Read(address + 8, absl::MakeSpan(bytes));
  EXPECT_EQ(pci::LoadLittleEndian<uint32_t>(bytes, 0), 0x12345678u);
}

TEST_F(SmallBarsTest, InTheMiddleOfAPageItIsTrapped) {
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace + 0x10), IsOk());
  EXPECT_THAT(Slots(), IsEmpty());
  EXPECT_THAT(Area(*small_, 0).shares_page, HasSubstr("not where a page"));
  EXPECT_THAT(small_->Describe().degraded, IsEmpty()) << "no failure";
  uint64_t read = 0;
  EXPECT_EQ(RunGuest([&](guest::GuestCpu& cpu) {
              read = cpu.Load(kPlace + 0x10, 4);
              return absl::OkStatus();
            }),
            1u);
  EXPECT_EQ(read, 0x11111111u);
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  EXPECT_THAT(Slots(), ElementsAre("d0000000+1000"));
}

TEST_F(SmallBarsTest, WithoutDecodeItHasNoSlot) {
  SetDecode(*small_, false);
  EXPECT_THAT(Slots(), IsEmpty());
  SetDecode(*small_, true);
  EXPECT_TRUE(Area(*small_, 0).in_guest);
}

TEST_F(SmallBarsTest, ItMakesWayForTheBarOfAnotherDeviceAndComesBack) {
  AttachOther();
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  ASSERT_TRUE(Area(*small_, 0).in_guest);
  // The other BAR comes into the page.
  ASSERT_THAT(other_->SetBarAddress(kFirst, kPlace + 0x80), IsOk());
  EXPECT_FALSE(Area(*small_, 0).in_guest);
  EXPECT_FALSE(Area(*other_, 0).in_guest);
  uint64_t mine = 0;
  uint64_t others = 0;
  RunGuest([&](guest::GuestCpu& cpu) {
    mine = cpu.Load(kPlace, 4);
    others = cpu.Load(kPlace + 0x80, 4);
    return absl::OkStatus();
  });
  EXPECT_EQ(mine, 0x11111111u);
  EXPECT_EQ(others, 0x22222222u);
  EXPECT_THAT(small_->Describe().degraded, IsEmpty());
  // It goes to a page of its own, and both are mapped.
  ASSERT_THAT(other_->SetBarAddress(kFirst, kPlace + kOnePage), IsOk());
  EXPECT_TRUE(Area(*small_, 0).in_guest);
  EXPECT_TRUE(Area(*other_, 0).in_guest);
  // It comes back, and its device is unplugged.
  ASSERT_THAT(other_->SetBarAddress(kFirst, kPlace + 0x80), IsOk());
  EXPECT_FALSE(Area(*small_, 0).in_guest);
  other_.reset();
  ASSERT_THAT(manager_->Detach(manager_->Devices().back()), IsOk());
  EXPECT_TRUE(Area(*small_, 0).in_guest);
  EXPECT_THAT(Slots(), ElementsAre("d0000000+1000"));
}

TEST_F(SmallBarsTest, TwoBarsOfADeviceInOnePageAreTrapped) {
  AttachOther();
  for (const uint8_t index : {0, 2, 3}) {
    EXPECT_TRUE(Area(*other_, index).in_guest) << "each has its page";
  }
  SetDecode(*other_, false);
  ASSERT_THAT(other_->SetBarAddress(kFirst, kPlace), IsOk());
  ASSERT_THAT(other_->SetBarAddress(pci::BarIndex(2), kPlace + 0x100), IsOk());
  host_.kernel().journal().Clear();
  SetDecode(*other_, true);
  EXPECT_FALSE(Area(*other_, 0).in_guest);
  EXPECT_FALSE(Area(*other_, 2).in_guest);
  EXPECT_TRUE(Area(*other_, 3).in_guest);
  EXPECT_EQ(host_.kernel().journal().Count("KVM_SET_USER_MEMORY_REGION"), 3u)
      << "BARs 3, 4 and 5, and no attempts";
}

TEST_F(SmallBarsTest, ItMakesWayForAnEmulatedDevice) {
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  bus::RangeHandle range;
  {
    memory::LayoutLockHolder layout(&machine_->layout_lock());
    const auto added = machine_->mmio().Add(kPlace + 0xf00, 4,
                                            std::make_shared<EmulatedDevice>(),
                                            bus::AddressSpace::kBarPriority);
    ASSERT_THAT(added, IsOk());
    range = *added;
  }
  EXPECT_THAT(Slots(), IsEmpty());
  uint64_t emulated = 0;
  uint64_t mine = 0;
  RunGuest([&](guest::GuestCpu& cpu) {
    emulated = cpu.Load(kPlace + 0xf00, 4);
    mine = cpu.Load(kPlace, 4);
    return absl::OkStatus();
  });
  EXPECT_EQ(emulated, 0x77777777u);
  EXPECT_EQ(mine, 0x11111111u);
  {
    memory::LayoutLockHolder layout(&machine_->layout_lock());
    machine_->mmio().Remove(range);
  }
  // The next change of the device's, or of another one of the VM.
  SetDecode(*small_, false);
  SetDecode(*small_, true);
  EXPECT_THAT(Slots(), ElementsAre("d0000000+1000"));
}

TEST_F(SmallBarsTest, ASlotThatCannotBeMadeLeavesATrap) {
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace + 0x10), IsOk());
  host_.kernel().faults().FailNthOf("KVM_SET_USER_MEMORY_REGION", 1, ENOMEM);
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  EXPECT_FALSE(Area(*small_, 0).in_guest);
  const auto degraded = small_->Describe().degraded;
  ASSERT_EQ(degraded.size(), 1u);
  EXPECT_EQ(degraded[0].kind, vfio_pci::DegradationKind::kTrapped);
  uint64_t read = 0;
  RunGuest([&](guest::GuestCpu& cpu) {
    read = cpu.Load(kPlace, 4);
    return absl::OkStatus();
  });
  EXPECT_EQ(read, 0x11111111u);
}

TEST_F(SmallBarsTest, ASlotThatCannotMakeWayIsReportedAndTriedAgain) {
  AttachOther();
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  // The first call deletes the slot of the other BAR's page.
  host_.kernel().faults().FailNthOf("KVM_SET_USER_MEMORY_REGION", 2, EINVAL);
  ASSERT_THAT(other_->SetBarAddress(kFirst, kPlace + 0x80), IsOk());
  const auto degraded = small_->Describe().degraded;
  ASSERT_EQ(degraded.size(), 1u);
  EXPECT_EQ(degraded[0].kind, vfio_pci::DegradationKind::kStaleSlot);
  // The VMM asks all devices to look again.
  manager_->OnMemoryFault();
  EXPECT_THAT(small_->Describe().degraded, IsEmpty());
  EXPECT_FALSE(Area(*small_, 0).in_guest);
  uint64_t others = 0;
  RunGuest([&](guest::GuestCpu& cpu) {
    others = cpu.Load(kPlace + 0x80, 4);
    return absl::OkStatus();
  });
  EXPECT_EQ(others, 0x22222222u);
}

TEST_F(SmallBarsTest, OneWithTheRealPendingBitsIsTrapped) {
  AddFixture("testing/fixtures/modelled/nvme_sn750.textproto", kOtherHost, 2);
  other_ = Attach(kOtherHost);
  SetDecode(*other_, true);
  EXPECT_FALSE(Area(*other_, 4).in_guest);
  EXPECT_EQ(Area(*other_, 4).area.kind, vfio_pci::BarAreaKind::kMsixPba);
}

// The guest reads its BAR while another one comes into its page and goes.
TEST_F(SmallBarsTest, EveryReadIsRightWhileANeighbourComesAndGoes) {
  constexpr int kRounds = 200;
  AttachOther();
  ASSERT_THAT(small_->SetBarAddress(kFirst, kPlace), IsOk());
  std::thread neighbour([this] {
    for (int i = 0; i < kRounds; ++i) {
      CHECK_OK(other_->SetBarAddress(kFirst, kPlace + 0x80));
      CHECK_OK(other_->SetBarAddress(kFirst, kPlace + kOnePage));
    }
  });
  int wrong = 0;
  RunGuest([&wrong](guest::GuestCpu& cpu) {
    for (int i = 0; i < 20 * kRounds; ++i) {
      wrong += cpu.Load(kPlace, 4) != 0x11111111;
    }
    return absl::OkStatus();
  });
  neighbour.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(Area(*small_, 0).in_guest);
  EXPECT_TRUE(Area(*other_, 0).in_guest);
}

}  // namespace
}  // namespace passthru::vmm
