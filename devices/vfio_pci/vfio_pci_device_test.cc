// SPDX-License-Identifier: Apache-2.0
//
// The configuration space and the BARs of passed-through devices, on the
// simulated host.

#include "passthru/devices/vfio_pci/vfio_pci_device.h"

#include <linux/vfio.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::PassthroughRig;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class VfioPciDeviceTest : public ::testing::Test {
 protected:
  void Attach(PassthroughRig::Options options = {}) {
    rig_ = std::make_unique<PassthroughRig>(std::move(options));
    ASSERT_THAT(rig_->Attach(), IsOk());
    rig_->kernel().journal().Clear();
  }
  void TearDown() override {
    if (rig_ == nullptr) return;
    rig_->device_pointer().reset();
    const fake::LeakReport leaks = rig_->Leaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }
  size_t Calls(std::string_view name) {
    return rig_->kernel().journal().Count(name);
  }
  size_t AllCalls() {
    size_t calls = 0;
    for (const auto& [name, count] : rig_->kernel().journal().CallCounts()) {
      calls += count;
    }
    return calls;
  }
  void AddRam(uint64_t address, uint64_t size) {
    ram_ = *kernel::MappedRegion::Allocate(&rig_->kernel(), size, "ram");
    const auto area =
        rig_->memory().Add({.guest = memory::GuestAddress(address),
                            .size = size,
                            .host = ram_.data(),
                            .name = "ram"});
    ASSERT_THAT(area, IsOk());
    ram_area_ = *area;
  }
  void RemoveRam() {
    ASSERT_THAT(rig_->memory().Remove(ram_area_), IsOk());
    ram_.reset();
  }

  std::unique_ptr<PassthroughRig> rig_;
  kernel::MappedRegion ram_;
  memory::AreaId ram_area_;
};

TEST_F(VfioPciDeviceTest, AttachReadsTheConfigurationSpaceOnce) {
  rig_ = std::make_unique<PassthroughRig>();
  rig_->kernel().journal().Clear();
  ASSERT_THAT(rig_->Attach(), IsOk());
  EXPECT_EQ(Calls("pread"), 1u);
  EXPECT_LE(Calls("pwrite"), 1u);
  EXPECT_EQ(Calls("VFIO_DEVICE_SET_IRQS"), 0u);
  EXPECT_EQ(Calls("eventfd"), 0u);
  EXPECT_EQ(Calls("KVM_IRQFD"), 0u);
  EXPECT_EQ(Calls("KVM_SET_GSI_ROUTING"), 0u);
  EXPECT_EQ(Calls("KVM_SET_USER_MEMORY_REGION"), 0u);
}

TEST_F(VfioPciDeviceTest, IdentityBarsAndListsCostNoSystemCall) {
  Attach();
  EXPECT_EQ(rig_->Read(0x00, 4), 0x00101b36u);
  EXPECT_EQ(rig_->Read(0x08, 4), 0x01080202u);
  EXPECT_EQ(rig_->Read(0x2c, 4), 0x11001af4u);
  EXPECT_EQ(rig_->FindCapability(0x11), 0x40);
  for (uint16_t bar = 0x10; bar < 0x34; bar += 4) {
    const uint32_t value = rig_->Read(bar, 4);
    rig_->Write(bar, 4, 0xffffffff);
    rig_->Read(bar, 4);
    rig_->Write(bar, 4, value);
  }
  EXPECT_EQ(AllCalls(), 0u);
  EXPECT_EQ(rig_->device().Describe().config.reads_from_device, 0u);
}

TEST_F(VfioPciDeviceTest, StatusComesFromTheDevice) {
  Attach();
  EXPECT_NE(rig_->Read(0x06, 2) & 0x10, 0u);
  EXPECT_EQ(Calls("pread"), 1u);
  EXPECT_EQ(rig_->device().Describe().config.reads_from_device, 1u);
}

TEST_F(VfioPciDeviceTest, TheGuestFindsAFunctionThatDecodesNothing) {
  Attach();
  EXPECT_EQ(rig_->Read(0x04, 2), 0u);
  EXPECT_EQ(rig_->Read(0x10, 4), 0x4u);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Load(kBar, 4), 0xffffffffu);
}

TEST_F(VfioPciDeviceTest, A64BitBarIsSizedThroughBothHalves) {
  Attach();
  rig_->Write(0x10, 4, 0xffffffff);
  rig_->Write(0x14, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x10, 4), 0xffffc004u);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xffffffffu);
}

TEST_F(VfioPciDeviceTest, ABarWrittenByteByByteHoldsTheSame) {
  Attach();
  for (uint16_t i = 0; i < 4; ++i) rig_->Write(0x10 + i, 1, 0xe1 + i);
  EXPECT_EQ(rig_->Read(0x10, 4), 0xe4e3c004u);
  EXPECT_EQ(rig_->Read(0x12, 2), 0xe4e3u);
}

TEST_F(VfioPciDeviceTest, TheExpansionRomIsNotThere) {
  Attach({.fixture = "e1000e"});
  rig_->Write(0x30, 4, 0xfffff800);
  EXPECT_EQ(rig_->Read(0x30, 4), 0u);
}

TEST_F(VfioPciDeviceTest, ThePinIsHiddenWithoutAnInterruptLine) {
  Attach();
  EXPECT_EQ(rig_->Read(0x3d, 1), 0u);
  rig_->Write(0x3c, 1, 11);
  EXPECT_EQ(rig_->Read(0x3c, 2), 11u);
}

TEST_F(VfioPciDeviceTest, DecodeOnMapsWhatCanBeMapped) {
  Attach();
  rig_->PlaceBar(0, kBar);
  // The MSI-X table is at 0x2000, and the pending bits are at 0x3000.
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
  const BarReport bar = rig_->device().Describe().bars[0];
  EXPECT_TRUE(bar.placed);
  ASSERT_EQ(bar.areas.size(), 3u);
  EXPECT_TRUE(bar.areas[0].in_guest);
  EXPECT_EQ(bar.areas[1].area.kind, BarAreaKind::kMsixTable);
  EXPECT_EQ(bar.areas[2].area.kind, BarAreaKind::kMsixPba);
}

// vfio-pci itself lets every BAR be written, but other VFIO drivers need not.
TEST_F(VfioPciDeviceTest, ABarThatCannotBeWrittenIsAReadOnlySlot) {
  Attach({.fixture = "ivshmem", .edit_fixture = [](fixture::PciDevice& device) {
            device.mutable_regions(1)->set_flags(VFIO_REGION_INFO_FLAG_READ |
                                                 VFIO_REGION_INFO_FLAG_MMAP);
          }});
  rig_->PlaceBar(2, kBar);
  const std::vector<fake::FakeKvmSlot> slots = rig_->kernel().kvm().Slots();
  ASSERT_THAT(slots, SizeIs(1));
  EXPECT_EQ(slots[0].guest_address, kBar);
  EXPECT_TRUE(slots[0].read_only());
  EXPECT_EQ(Calls("pwrite"), 1u) << "COMMAND";
  // The write of the guest exits and is dropped.
  rig_->Store(kBar, 4, 0x12345678);
  EXPECT_EQ(Calls("pwrite"), 1u);
  EXPECT_EQ(rig_->Load(kBar, 4), 0u);
  EXPECT_THAT(rig_->device().Describe().failures,
              ElementsAre(AllOf(HasSubstr("BAR2 write is dropped"),
                                HasSubstr("the region cannot be written"))));
}

TEST_F(VfioPciDeviceTest, DecodeOffTakesTheSlotsAway) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x04, 2, 0x4);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Load(kBar, 4), 0xffffffffu);
  rig_->Write(0x04, 1, 0x2);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
}

TEST_F(VfioPciDeviceTest, TrappedAccessesReachTheDevice) {
  Attach();
  rig_->PlaceBar(0, kBar);
  // Reads NVMe's version register through the trap under the slot.
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0x00010400u);
  EXPECT_EQ(rig_->device().Describe().bar.device_reads, 1u);
}

TEST_F(VfioPciDeviceTest, ABarMovesWithDecodeOn) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x10, 4, 0xd0000000);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xd0000000+0x2000"));
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0xffffffffu);
  EXPECT_EQ(rig_->Load(0xd0000008, 4), 0x00010400u);
  EXPECT_EQ(Calls("mmap"), 0u) << "the host mapping stays where it is";
}

TEST_F(VfioPciDeviceTest, A64BitBarMovesAboveFourGigabytesHalfByHalf) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x14, 4, 0x3);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x3e0000000+0x2000"));
  rig_->Write(0x10, 4, 0x10000000);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x310000000+0x2000"));
  EXPECT_EQ(rig_->Load(0x310000008, 4), 0x00010400u);
}

TEST_F(VfioPciDeviceTest, AMoveWithDecodeOffHappensWhenItIsTurnedOn) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x04, 2, 0);
  rig_->kernel().journal().Clear();
  rig_->Write(0x10, 4, 0xd0000000);
  EXPECT_EQ(AllCalls(), 0u);
  rig_->Write(0x04, 2, 0x2);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xd0000000+0x2000"));
}

TEST_F(VfioPciDeviceTest, SizingWithDecodeOnPutsTheBarBack) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x10, 4, 0xffffffff);
  rig_->Write(0x14, 4, 0xffffffff);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  rig_->Write(0x10, 4, kBar);
  rig_->Write(0x14, 4, 0);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
}

// Linux writes all ones to one half at a time and restores it at once.
TEST_F(VfioPciDeviceTest, SizingHalfByHalfMakesNoSlotElsewhere) {
  Attach();
  constexpr uint64_t kHigh = 0x20'e0000000;
  rig_->PlaceBar(0, kHigh);
  rig_->kernel().journal().Clear();
  rig_->Write(0x10, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x10, 4), 0xffffc004u);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Load(0x20'ffffc008, 4), 0xffffffffu);
  rig_->Write(0x10, 4, 0xe0000004);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x20e0000000+0x2000"));
  rig_->Write(0x14, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xffffffffu);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  rig_->Write(0x14, 4, 0x20);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x20e0000000+0x2000"));
  // Each time the slot was deleted and made again, and nothing else.
  EXPECT_EQ(Calls("KVM_SET_USER_MEMORY_REGION"), 4u);
  const DeviceReport report = rig_->device().Describe();
  EXPECT_EQ(report.bar.refused_placements, 0u);
  EXPECT_EQ(report.failure_count, 0u);
}

// A BAR may well end at 4 GiB. What tells an address from a size is the write.
TEST_F(VfioPciDeviceTest, ABarAtTheEndOfFourGigabytesAnswers) {
  Attach();
  rig_->PlaceBar(0, 0x20'ffffc000);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x20ffffc000+0x2000"));
  rig_->Write(0x10, 4, 0xffffffff);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  rig_->Write(0x10, 4, 0xffffc004);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x20ffffc000+0x2000"));
}

TEST_F(VfioPciDeviceTest, ABarOverRamReadsBackAndIsTrapped) {
  Attach();
  AddRam(0x1000000, 0x4000);
  rig_->PlaceBar(0, 0x1000000);
  EXPECT_EQ(rig_->Read(0x10, 4), 0x1000004u);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x1000000+0x4000"));
  const DeviceReport report = rig_->device().Describe();
  EXPECT_TRUE(report.bars[0].placed);
  EXPECT_FALSE(report.bars[0].areas[0].in_guest);
  EXPECT_THAT(report.bars[0].areas[0].refused, HasSubstr("overlap"));
  EXPECT_EQ(report.bar.refused_placements, 1u);
  RemoveRam();
  // Every driver turns bus mastering on before it uses the device.
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x1000000+0x2000"));
}

TEST_F(VfioPciDeviceTest, DetachGivesEverythingBackAndReadsAllOnes) {
  Attach();
  rig_->PlaceBar(0, kBar);
  ASSERT_THAT(rig_->device().Detach(), IsOk());
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_TRUE(rig_->Leaks().empty()) << rig_->Leaks();
  EXPECT_EQ(rig_->Read(0x00, 4), 0xffffffffu);
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(rig_->device().Detach(), IsOk());
  EXPECT_THAT(rig_->device().SetBarAddress(pci::BarIndex(0), kBar),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(rig_->device().Reset(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(VfioPciDeviceTest, FirmwareCannotPutABarWhereItDoesNotFit) {
  Attach();
  EXPECT_THAT(rig_->device().SetBarAddress(pci::BarIndex(0), kBar + 0x1000),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(rig_->device().SetBarAddress(pci::BarIndex(3), kBar),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(VfioPciDeviceTest, FunctionLevelResetLeavesTheFunctionAsHardwareDoes) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->Write(0x3c, 1, 11);
  const auto control = static_cast<uint16_t>(rig_->FindCapability(0x10) + 0x08);
  rig_->Write(control, 2, 0x8000 | rig_->Read(control, 2));

  EXPECT_EQ(rig_->host().vfio().Snapshot(rig_->bdf())->resets, 2u);
  EXPECT_EQ(rig_->Read(0x04, 2), 0u);
  EXPECT_EQ(rig_->Read(0x10, 4), 0x4u);
  EXPECT_EQ(rig_->Read(0x3c, 1), 0u);
  EXPECT_EQ(rig_->Read(0x42, 2), 0x0040u);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kNone);
  EXPECT_EQ(rig_->device().Describe().resets, 1u);

  rig_->PlaceBar(0, kBar);
  EXPECT_EQ(rig_->Load(kBar + 0x2000 + 8, 4), 0u) << "the table was not reset";
  EXPECT_EQ(rig_->Load(kBar + 0x2000 + 12, 4), 1u);
}

TEST_F(VfioPciDeviceTest, D3hotTakesTheBarsAway) {
  Attach();
  rig_->PlaceBar(0, kBar);
  const auto control = static_cast<uint16_t>(rig_->FindCapability(0x01) + 0x04);
  rig_->Write(control, 2, 0x3);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0xffffffffu);
  rig_->Write(control, 1, 0x0);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0x00010400u);
}

TEST_F(VfioPciDeviceTest, AnEndpointOnTheRootBusIsIntegratedIntoTheComplex) {
  Attach();
  const uint16_t pcie = rig_->FindCapability(0x10);
  EXPECT_EQ(rig_->Read(pcie + 2, 2) >> 4 & 0xf, 0x9u);
  EXPECT_EQ(rig_->Read(pcie + 0x0c, 4), 0u);
  EXPECT_EQ(rig_->Read(pcie + 0x12, 2), 0u);
}

TEST_F(VfioPciDeviceTest, AnEndpointBelowAPortStaysOne) {
  Attach({.edit_options = [](VfioPciDevice::Options& options) {
    options.on_root_bus = false;
  }});
  const uint16_t pcie = rig_->FindCapability(0x10);
  EXPECT_EQ(rig_->Read(pcie + 2, 2) >> 4 & 0xf, 0x0u);
  EXPECT_NE(rig_->Read(pcie + 0x0c, 4), 0u);
}

TEST_F(VfioPciDeviceTest, IoBarsAreTrappedPorts) {
  Attach({.fixture = "e1000"});
  const DeviceReport before = rig_->device().Describe();
  const pci::Bar* io = nullptr;
  for (const pci::Bar& bar : rig_->device().bars()) {
    if (bar.is_io()) io = &bar;
  }
  ASSERT_NE(io, nullptr);
  ASSERT_THAT(rig_->device().SetBarAddress(io->index, 0xc000), IsOk());
  rig_->Write(0x04, 2, 0x1);
  std::vector<uint8_t> data(4);
  rig_->pio().Read(0xc000, absl::MakeSpan(data));
  EXPECT_EQ(rig_->pio().stats().misses, 0u);
  EXPECT_EQ(rig_->device().Describe().bar.device_reads, 1u);
  rig_->Write(0x04, 2, 0x0);
  rig_->pio().Read(0xc000, absl::MakeSpan(data));
  EXPECT_EQ(rig_->pio().stats().misses, 1u);
}

TEST_F(VfioPciDeviceTest, EveryFixtureAttachesPlacesResetsAndDetaches) {
  for (const char* fixture : {"e1000", "e1000e", "edu", "ich9_ahci", "ivshmem",
                              "nvme", "rtl8139", "virtio_net", "xhci"}) {
    SCOPED_TRACE(fixture);
    Attach({.fixture = fixture});
    uint64_t address = kBar;
    for (const pci::Bar& bar : rig_->device().bars()) {
      if (bar.is_io()) continue;
      address = (address + bar.size - 1) & ~(bar.size - 1);
      ASSERT_THAT(rig_->device().SetBarAddress(bar.index, address), IsOk());
      address += bar.size;
    }
    rig_->Write(0x04, 2, 0x7);
    for (uint16_t offset = 0; offset < 256; ++offset) {
      rig_->Read(offset, 1);
    }
    const DeviceReport report = rig_->device().Describe();
    EXPECT_EQ(report.bar.refused_placements, 0u);
    EXPECT_EQ(report.config.failures, 0u);
    for (const BarReport& bar : report.bars) {
      EXPECT_EQ(bar.placed, !bar.bar.is_io()) << bar.problem;
    }
    EXPECT_THAT(ToLines(report), Contains(HasSubstr("Interrupts: ")));
    // No reset reaches a conventional device on the root bus, which all those
    // are that have none of their own.
    const absl::Status reset = rig_->device().Reset();
    if (report.reset.kind == ResetKind::kNone) {
      EXPECT_THAT(reset, StatusIs(absl::StatusCode::kUnimplemented));
    } else {
      EXPECT_THAT(reset, IsOk());
    }
    EXPECT_THAT(rig_->Slots(), IsEmpty());
    TearDown();
  }
}

TEST_F(VfioPciDeviceTest, EveryFixturesTablesStayOutOfTheGuestsReach) {
  for (const char* fixture : {"e1000e", "nvme", "virtio_net", "xhci"}) {
    SCOPED_TRACE(fixture);
    Attach({.fixture = fixture});
    const uint16_t msix = rig_->FindCapability(0x11);
    ASSERT_NE(msix, 0);
    for (const uint16_t location : {msix + 4, msix + 8}) {
      const uint32_t value = rig_->Read(location, 4);
      for (const BarReport& bar : rig_->device().Describe().bars) {
        if (bar.bar.index.value() != (value & 7)) continue;
        for (const BarAreaReport& area : bar.areas) {
          const uint64_t offset = value & ~uint32_t{7};
          if (area.area.offset <= offset &&
              offset < area.area.offset + area.area.size) {
            EXPECT_FALSE(area.area.mapped());
          }
        }
      }
    }
    TearDown();
  }
}

}  // namespace
}  // namespace passthru::vfio_pci
