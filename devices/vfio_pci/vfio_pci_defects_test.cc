// SPDX-License-Identifier: Apache-2.0
//
// Defects of earlier passthrough code, each tested on the whole path as the
// guest would meet it. docs/defects.md lists them all, with their tests. This
// file has those that no other test of this package covers.

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using fake::kBar;
using fake::kNvmeTable;
using fake::PassthroughRig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VfioPciDefectsTest : public ::testing::Test {
 protected:
  void Attach(PassthroughRig::Options options = {}) {
    rig_ = std::make_unique<PassthroughRig>(std::move(options));
    ASSERT_THAT(rig_->Attach(), IsOk());
    rig_->kernel().journal().Clear();
  }
  void TearDown() override {
    if (rig_ == nullptr) return;
    EXPECT_EQ(rig_->kernel().kvm().LostInterrupts(), 0u);
    rig_->device_pointer().reset();
    const fake::LeakReport leaks = rig_->Leaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }
  size_t Calls(std::string_view name) {
    return rig_->kernel().journal().Count(name);
  }
  // Counts the calls other than waiting and reading eventfds.
  size_t CallsThatDo() {
    size_t calls = 0;
    for (const auto& [name, count] : rig_->kernel().journal().CallCounts()) {
      if (name != "epoll_wait" && name != "read") calls += count;
    }
    return calls;
  }
  void EnableMsi(uint16_t control, uint32_t data) {
    const uint16_t msi = rig_->FindCapability(0x05);
    rig_->Write(msi + 4, 4, 0xfee00000);
    rig_->Write(msi + 8, 4, 0);
    rig_->Write(msi + 12, 2, data);
    rig_->Write(msi + 2, 2, control);
  }
  bool PortAnswers(uint16_t port) {
    std::vector<uint8_t> data(4);
    const uint64_t misses = rig_->pio().stats().misses;
    rig_->pio().Read(port, absl::MakeSpan(data));
    return rig_->pio().stats().misses == misses;
  }
  static void SetRow(fixture::PciDevice& fixture, uint32_t offset,
                     const char* bytes) {
    for (fixture::ByteRow& row : *fixture.mutable_config()) {
      if (row.offset() == offset) row.set_bytes(bytes);
    }
  }

  std::unique_ptr<PassthroughRig> rig_;
};

// --- MSI-X.

TEST_F(VfioPciDefectsTest, EntriesProgrammedBeforeMsixIsOnDeliver) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->WriteVector(64, 0x70, /*masked=*/false);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->RaiseMsix(0);
  rig_->RaiseMsix(64);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x30, 0x70));
}

TEST_F(VfioPciDefectsTest, EntriesProgrammedUnderTheFunctionMaskDeliver) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/true);
  rig_->WriteVector(5, 0x35, /*masked=*/false);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->RaiseMsix(5);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x35));
}

TEST_F(VfioPciDefectsTest, AMaskedVectorThatInterruptsWakesTheLoopOnce) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->WriteVector(2, 0x32, /*masked=*/false);
  rig_->Store(kNvmeTable + 2 * 16 + 12, 4, 1);
  ASSERT_THAT(
      rig_->host().vfio().WithHardware(
          rig_->bdf(),
          [](models::DevicePlatform& hardware) { hardware.RaiseMsix(2); }),
      IsOk());
  EXPECT_THAT(rig_->loop().RunOnce(/*timeout_ms=*/0), IsOkAndHolds(1));
  EXPECT_THAT(rig_->loop().RunOnce(/*timeout_ms=*/0), IsOkAndHolds(0));
}

TEST_F(VfioPciDefectsTest, AccessesOfAnyWidthAndPlaceToTheTablesPagesEnd) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  // The bases lie around the beginning and the end of the table (65 * 16 bytes)
  // and of the pending bits (16 bytes).
  for (const uint64_t base : {uint64_t{0x1ff0}, uint64_t{0x2400},
                              uint64_t{0x2ff0}, uint64_t{0x3ff0}}) {
    for (uint64_t offset = base; offset < base + 0x30; ++offset) {
      for (const unsigned width : {1u, 2u, 3u, 4u, 5u, 8u}) {
        rig_->Store(kBar + offset, width, 0xa5a5a5a5a5a5a5a5 << offset % 8);
        rig_->Load(kBar + offset, width);
      }
    }
  }
  rig_->WriteVector(1, 0x31, /*masked=*/false);
  rig_->RaiseMsix(1);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31));
}

TEST_F(VfioPciDefectsTest, OnlyVectorsInUseCostTheHostAnything) {
  Attach();
  rig_->PlaceBar(0, kBar);
  EXPECT_EQ(Calls("eventfd"), 0u);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/true);
  for (const uint16_t vector : {3, 60}) {
    rig_->WriteVector(vector, 0x30 + vector, /*masked=*/true);
  }
  // Mask all entries once more, as Linux does (msix_mask_all()).
  for (uint64_t i = 0; i < 65; ++i) rig_->Store(kNvmeTable + 16 * i + 12, 4, 1);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  for (const uint16_t vector : {3, 60}) {
    rig_->WriteVector(vector, 0x30 + vector, /*masked=*/false);
    rig_->RaiseMsix(vector);
  }
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x33, 0x6c));
  const auto snapshot = rig_->host().vfio().Snapshot(rig_->bdf());
  ASSERT_THAT(snapshot, IsOk());
  EXPECT_EQ(snapshot->irqs.triggers.size(), 2u);
  EXPECT_EQ(Calls("eventfd"), 2u);
  EXPECT_EQ(rig_->router().stats().routes, 2u);
}

TEST_F(VfioPciDefectsTest, RoutesOfOthersAreInEveryCommit) {
  Attach();
  // Another device in the same VM has a route.
  const auto other = rig_->router().Allocate();
  ASSERT_THAT(other, IsOk());
  ASSERT_THAT(rig_->router().Stage(*other, rig_->Message(0x99)), IsOk());
  ASSERT_THAT(rig_->router().Commit(), IsOk());

  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  for (uint16_t i = 0; i < 2; ++i) rig_->WriteVector(i, 0x30 + i, false);
  rig_->RaiseMsix(0);
  const auto data = [this] {
    std::vector<uint32_t> msis;
    size_t others = 0;
    for (const kvm_irq_routing_entry& entry : rig_->kernel().kvm().Routes()) {
      if (entry.type == KVM_IRQ_ROUTING_MSI) {
        msis.push_back(entry.u.msi.data);
      } else {
        ++others;
      }
    }
    EXPECT_EQ(others, interrupts::DefaultIrqchipRoutes().size());
    std::sort(msis.begin(), msis.end());
    return msis;
  };
  EXPECT_THAT(data(), ElementsAre(0x30, 0x31, 0x99));
  // After the detach no commit has this device's routes.
  ASSERT_THAT(rig_->device().Detach(), IsOk());
  EXPECT_THAT(data(), ElementsAre(0x99));
  rig_->router().Release(*other);
  EXPECT_THAT(rig_->router().Commit(), IsOk());
}

TEST_F(VfioPciDefectsTest, MsixWithoutInterruptsOfTheHostIsHidden) {
  rig_ = std::make_unique<PassthroughRig>(
      PassthroughRig::Options{.edit_options = [](auto& options) {
        options.intx_gsi = allocator::Gsi(16);
      }});
  rig_->kernel().faults().FailWhen(
      [](const journal::Call& call) {
        return call.name == "VFIO_DEVICE_GET_IRQ_INFO" &&
               call.Find("index")->number == VFIO_PCI_MSIX_IRQ_INDEX;
      },
      EINVAL);
  ASSERT_THAT(rig_->Attach(), IsOk());
  EXPECT_EQ(rig_->FindCapability(0x11), 0u);
  EXPECT_EQ(rig_->Read(0x40, 4), 0u);
  rig_->Write(0x40, 4, 0xc0000000);
  const DeviceReport report = rig_->device().Describe();
  EXPECT_EQ(report.interrupt, InterruptKind::kIntx);
  EXPECT_EQ(report.capabilities[0].treatment, CapabilityTreatment::kHide);
  EXPECT_THAT(report.capabilities[0].reason,
              HasSubstr("VFIO_DEVICE_GET_IRQ_INFO"));
  ASSERT_EQ(report.degraded.size(), 1u);
  EXPECT_EQ(report.degraded[0].kind, DegradationKind::kHidden);
  EXPECT_EQ(report.degraded[0].what, "MSI-X");
  EXPECT_THAT(report.degraded[0].why, HasSubstr("VFIO_DEVICE_GET_IRQ_INFO"));
}

// --- MSI.

TEST_F(VfioPciDefectsTest, EachOfSeveralMsiVectorsHasItsMessage) {
  Attach({.fixture = "edu", .edit_fixture = [](fixture::PciDevice& fixture) {
            SetRow(fixture, 0x40,
                   "05 00 84 00 00 00 00 00 00 00 00 00 00 00 00 00");
            for (fixture::Irq& irq : *fixture.mutable_irqs()) {
              if (irq.index() == VFIO_PCI_MSI_IRQ_INDEX) irq.set_count(4);
            }
          }});
  rig_->Write(0x04, 2, 0x4);
  EnableMsi(0x0021, 0x40);
  for (uint16_t i = 0; i < 4; ++i) rig_->RaiseMsi(i);
  for (uint16_t i = 0; i < 4; ++i) rig_->RaiseMsi(i);
  EXPECT_THAT(rig_->TakeMessages(),
              ElementsAre(0x40, 0x41, 0x42, 0x43, 0x40, 0x41, 0x42, 0x43));
  EXPECT_LE(Calls("KVM_SET_GSI_ROUTING"), 3u);
  // The guest now uses only two vectors.
  rig_->Write(rig_->FindCapability(0x05) + 2, 2, 0x0011);
  for (uint16_t i = 0; i < 2; ++i) rig_->RaiseMsi(i);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x40, 0x41));
}

TEST_F(VfioPciDefectsTest, MsiWritesThatChangeNothingMakeNoCall) {
  Attach({.fixture = "edu"});
  rig_->Write(0x04, 2, 0x4);
  EnableMsi(0x1, 0x31);
  rig_->RaiseMsi(0);
  rig_->kernel().journal().Clear();
  EnableMsi(0x1, 0x31);
  EXPECT_EQ(CallsThatDo(), 0u);
  rig_->RaiseMsi(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31, 0x31));
}

TEST_F(VfioPciDefectsTest, MsiAndMsixTakeTurns) {
  Attach({.fixture = "e1000e"});
  rig_->PlaceBar(3, kBar);
  const uint16_t msi = rig_->FindCapability(0x05);
  for (int i = 0; i < 3; ++i) {
    EnableMsi(0x1, 0x31);
    rig_->RaiseMsi(0);
    EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31));
    rig_->Write(msi + 2, 2, 0x0);
    rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
    rig_->WriteVector(2, 0x52, /*masked=*/false);
    rig_->RaiseMsix(2);
    EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x52));
    rig_->SetMsixControl(/*enable=*/false, /*function_mask=*/false);
  }
}

// --- BARs.

TEST_F(VfioPciDefectsTest, A64BitBarOfEightGigabytesIsSizedAndMapped) {
  Attach(
      {.fixture = "ivshmem", .edit_fixture = [](fixture::PciDevice& fixture) {
         SetRow(fixture, 0x10,
                "00 00 04 f8 00 00 00 00 0c 00 00 00 02 00 00 00");
         fixture.mutable_regions(1)->set_size(uint64_t{8} << 30);
       }});
  rig_->Write(0x18, 4, 0xffffffff);
  rig_->Write(0x1c, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x18, 4), 0x0000000cu);
  EXPECT_EQ(rig_->Read(0x1c, 4), 0xfffffffeu);
  rig_->Write(0x18, 4, 0);
  rig_->Write(0x1c, 4, 0x4);
  rig_->Write(0x04, 2, 0x2);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x400000000+0x200000000"));
}

TEST_F(VfioPciDefectsTest, AnIoBarOfFourBytesDoesNotSwallowTheNext) {
  Attach(
      {.fixture = "rtl8139", .edit_fixture = [](fixture::PciDevice& fixture) {
         SetRow(fixture, 0x10,
                "05 c1 00 00 00 90 a8 fe 00 00 00 00 00 00 00 00");
         fixture.mutable_regions(0)->set_size(4);
         fixture.mutable_regions(0)->clear_contents();
       }});
  rig_->Write(0x10, 4, 0xffffffff);
  rig_->Write(0x14, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x10, 4), 0xfffffffdu);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xffffff00u);
}

TEST_F(VfioPciDefectsTest, ABarShowsTheTypeThatItHas) {
  const struct {
    const char* fixture;
    uint16_t bar;
    uint32_t type;
  } kBars[] = {{"edu", 0x10, 0x0},
               {"nvme", 0x10, 0x4},
               {"ivshmem", 0x18, 0xc},
               {"virtio_net", 0x20, 0xc},
               {"ich9_ahci", 0x20, 0x1}};
  for (const auto& bar : kBars) {
    SCOPED_TRACE(bar.fixture);
    Attach({.fixture = bar.fixture});
    EXPECT_EQ(rig_->Read(bar.bar, 4), bar.type);
    rig_->Write(bar.bar, 4, 0xffffffff);
    EXPECT_EQ(rig_->Read(bar.bar, 4) & 0xf, bar.type);
    TearDown();
  }
}

TEST_F(VfioPciDefectsTest, AProbeReadsTheMaskAndMovesNothing) {
  Attach({.fixture = "edu"});
  rig_->PlaceBar(0, kBar);
  for (const uint32_t probe : {0xffffffffu, 0xfffffff0u, 0xfffffffeu}) {
    rig_->Write(0x10, 4, probe);
    EXPECT_EQ(rig_->Read(0x10, 4), 0xfff00000u);
    EXPECT_THAT(rig_->Slots(), IsEmpty());
    rig_->Write(0x10, 4, kBar);
    EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x100000"));
  }
}

TEST_F(VfioPciDefectsTest, PortsAndMemoryAreDifferentPlaces) {
  Attach({.fixture = "rtl8139"});
  ASSERT_THAT(rig_->device().SetBarAddress(pci::BarIndex(0), 0xc000), IsOk());
  ASSERT_THAT(rig_->device().SetBarAddress(pci::BarIndex(1), 0xd000), IsOk());
  rig_->Write(0x04, 2, 0x3);
  EXPECT_TRUE(PortAnswers(0xc000));
  EXPECT_FALSE(PortAnswers(0xd000));
  EXPECT_NE(rig_->Load(0xd000, 4), 0xffffffffu);
  EXPECT_EQ(rig_->Load(0xc000, 4), 0xffffffffu);
  // Each space has its own decode bit.
  rig_->Write(0x04, 2, 0x2);
  EXPECT_FALSE(PortAnswers(0xc000));
  EXPECT_NE(rig_->Load(0xd000, 4), 0xffffffffu);
}

TEST_F(VfioPciDefectsTest, EachSparseAreaIsMapped) {
  Attach(
      {.fixture = "ivshmem", .edit_fixture = [](fixture::PciDevice& fixture) {
         fixture::Region* const region = fixture.mutable_regions(1);
         region->set_flags(0xf);
         auto* const sparse = region->add_capabilities()->mutable_sparse_mmap();
         for (const uint64_t offset : {0x1000u, 0x8000u}) {
           auto* const area = sparse->add_areas();
           area->set_offset(offset);
           area->set_size(0x2000);
         }
       }});
  rig_->PlaceBar(2, kBar);
  EXPECT_THAT(rig_->Slots(),
              ElementsAre("0xe0001000+0x2000", "0xe0008000+0x2000"));
}

// --- Configuration space.

TEST_F(VfioPciDefectsTest, ANarrowAccessReachesTheDeviceAsNarrow) {
  Attach();
  for (const unsigned width : {1u, 2u, 4u}) {
    rig_->kernel().journal().Clear();
    rig_->Read(0x4c, width);
    rig_->Write(0x4c, width, 0x10);
    size_t accesses = 0;
    for (const journal::JournalEntry& entry :
         rig_->kernel().journal().Entries()) {
      if (entry.call.name != "pread" && entry.call.name != "pwrite") continue;
      EXPECT_EQ(entry.Number("count"), width);
      ++accesses;
    }
    EXPECT_EQ(accesses, 2u) << width;
  }
}

TEST_F(VfioPciDefectsTest, ThePowerStateReadsBackBesideMsix) {
  Attach();
  ASSERT_NE(rig_->FindCapability(0x11), 0);
  const auto control = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
  rig_->Write(control, 2, 0x3);
  EXPECT_EQ(rig_->Read(control, 2) & 0x3, 0x3u);
  rig_->Write(control, 2, 0x0);
  EXPECT_EQ(rig_->Read(control, 2) & 0x3, 0x0u);
}

TEST_F(VfioPciDefectsTest, AddressTranslationServicesAreHidden) {
  Attach({.fixture = "virtio_net"});
  const auto image = rig_->device().Describe().capabilities;
  EXPECT_TRUE(std::any_of(image.begin(), image.end(), [](const auto& view) {
    return view.extended && view.id == 0x0f;
  }));
  EXPECT_EQ(rig_->FindExtendedCapability(0x0f), 0u);
}

}  // namespace
}  // namespace passthru::vfio_pci
