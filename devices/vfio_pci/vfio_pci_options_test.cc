// SPDX-License-Identifier: Apache-2.0
//
// What a VMM may choose about a passed-through device: its identity, how many
// vectors and which capabilities the guest sees, and its expansion ROM.

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capability_id.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/journal/vfio_offset.h"
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
using ::testing::Not;

constexpr uint64_t kRom = 0xe8000000;

bool ReadsRom(const journal::Call& call) {
  const journal::CallField* offset = call.Find("offset");
  return call.name == "pread" && offset != nullptr &&
         journal::RegionOf(static_cast<uint64_t>(offset->number)) ==
             VFIO_PCI_ROM_REGION_INDEX;
}

class VfioPciOptionsTest : public ::testing::Test {
 protected:
  using Edit = std::function<void(VfioPciDevice::Options&)>;

  absl::Status TryAttach(
      std::string fixture, Edit edit,
      std::function<void(fixture::PciDevice&)> hardware = nullptr) {
    rig_ = std::make_unique<PassthroughRig>(
        PassthroughRig::Options{.fixture = std::move(fixture),
                                .edit_fixture = std::move(hardware),
                                .edit_options = std::move(edit)});
    return rig_->Attach();
  }
  void TearDown() override {
    if (rig_ == nullptr) return;
    rig_->device_pointer().reset();
    EXPECT_TRUE(rig_->Leaks().empty()) << rig_->Leaks();
  }
  std::vector<std::string> Report() {
    return ToLines(rig_->device().Describe());
  }
  RomReport Rom() { return rig_->device().Describe().rom; }

  std::unique_ptr<PassthroughRig> rig_;
};

// A port whose windows the test opens and closes.
class Window final : public pci_host::Upstream {
 public:
  bool ForwardsMemory(uint64_t address, uint64_t size) const override {
    return open && address >= base && address + size <= base + 0x100000;
  }
  bool ForwardsIo(uint64_t, uint64_t) const override { return open; }
  bool open = true;
  uint64_t base = PassthroughRig::kBarAddress;
};

TEST_F(VfioPciOptionsTest, BelowAPortBarsAnswerWithinItsWindow) {
  Window window;
  ASSERT_THAT(TryAttach("nvme",
                        [&window](VfioPciDevice::Options& options) {
                          options.on_root_bus = false;
                          options.upstream = &window;
                        }),
              IsOk());
  const std::vector<std::string> before = rig_->Slots();
  rig_->PlaceBar(0, PassthroughRig::kBarAddress);
  const std::vector<std::string> mapped = rig_->Slots();
  EXPECT_GT(mapped.size(), before.size());
  window.open = false;
  rig_->device().OnUpstreamChange();
  EXPECT_EQ(rig_->Slots(), before);
  EXPECT_EQ(rig_->Load(PassthroughRig::kBarAddress + 0x2000, 4), 0xffffffff);
  EXPECT_THAT(rig_->device().Describe().bars[0].problem,
              HasSubstr("its root port does not forward all of"));
  window.open = true;
  rig_->device().OnUpstreamChange();
  EXPECT_EQ(rig_->Slots(), mapped);
  EXPECT_NE(rig_->Load(PassthroughRig::kBarAddress + 0x2000, 4), 0xffffffff);
  EXPECT_EQ(rig_->device().Describe().bars[0].problem, "");
  // The guest moves the BAR out of the window, and later the window there.
  rig_->PlaceBar(0, PassthroughRig::kBarAddress + 0x100000);
  EXPECT_EQ(rig_->Slots(), before);
  window.base += 0x100000;
  rig_->device().OnUpstreamChange();
  EXPECT_EQ(rig_->Slots().size(), mapped.size());
  // A change of the port is nothing to the device itself.
  rig_->kernel().journal().Clear();
  rig_->device().OnUpstreamChange();
  EXPECT_EQ(rig_->kernel().journal().Count("pread"), 0u);
  ASSERT_THAT(rig_->device().Detach(), IsOk());
  rig_->device().OnUpstreamChange();
}

TEST_F(VfioPciOptionsTest, BelowAPortTheRomAnswersWithinItsWindow) {
  Window window;
  window.open = false;
  ASSERT_THAT(TryAttach("e1000_rom",
                        [&window](VfioPciDevice::Options& options) {
                          options.upstream = &window;
                          options.rom.source = RomOptions::Source::kDevice;
                        }),
              IsOk());
  window.base = kRom;
  rig_->Write(0x04, 2, 2);
  rig_->Write(0x30, 4, kRom | 1);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xffffu);
  EXPECT_THAT(Rom().problem, HasSubstr("does not forward"));
  window.open = true;
  rig_->device().OnUpstreamChange();
  EXPECT_EQ(rig_->Load(kRom, 2), 0xaa55u);
  ASSERT_THAT(rig_->device().Detach(), IsOk());
}

TEST_F(VfioPciOptionsTest, TheGuestSeesTheIdentityThatTheVmmGives) {
  ASSERT_THAT(TryAttach("nvme",
                        [](auto& options) {
                          options.identity = {
                              .vendor_id = 0x144d,
                              .device_id = 0xa808,
                              .subsystem_vendor_id = 0,
                              .subsystem_id = 0x1234,
                              .class_code = pci::ClassCode{1, 0x80, 0},
                              .revision_id = 7};
                        }),
              IsOk());
  EXPECT_EQ(rig_->Read(0x00, 4), 0xa808144du);
  EXPECT_EQ(rig_->Read(0x08, 4), 0x01800007u);
  EXPECT_EQ(rig_->Read(0x2c, 4), 0x12340000u);
  rig_->Write(0x00, 4, 0);
  EXPECT_EQ(rig_->Read(0x00, 4), 0xa808144du);
  EXPECT_THAT(Report(), Contains(HasSubstr("by the VMM: the device ID is a808, "
                                           "the device's own 0010")));
}

TEST_F(VfioPciOptionsTest, NonsenseIsAnErrorThatNamesTheDevice) {
  const std::vector<std::pair<Edit, std::string>> cases = {
      {[](auto& options) { options.identity.vendor_id = 0xffff; }, "0xffff"},
      {[](auto& options) { options.max_vectors = 0; }, "max_vectors is 0"},
      {[](auto& options) { options.max_vectors = 2049; }, "from 1 to 2048"},
      {[](auto& options) {
         options.policy = CapabilityPolicy().With(
             pci::CapabilityId::kNull, CapabilityTreatment::kHide, "none");
       },
       "capability 0"},
      {[](auto& options) {
         options.rom.bytes = {0x55, 0xaa};
       },
       "not kBytes"},
  };
  for (const auto& [edit, message] : cases) {
    const absl::Status status = TryAttach("nvme", edit);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr(rig_->bdf().ToString()),
                                       HasSubstr(message))));
    EXPECT_EQ(rig_->kernel().journal().Count("pread"), 0u);
    TearDown();
  }
}

TEST_F(VfioPciOptionsTest, TheGuestSeesNoMoreVectorsThanTheVmmAllows) {
  ASSERT_THAT(TryAttach("nvme", [](auto& options) { options.max_vectors = 5; }),
              IsOk());
  EXPECT_EQ(rig_->Read(rig_->FindCapability(0x11) + 2, 2) & 0x7ff, 4u);
  EXPECT_THAT(Report(), Contains(HasSubstr("5 of the device's 65 vectors "
                                           "shown, limited by the VMM's "
                                           "max_vectors, 5")));
  // The table ends after them, and behind it nothing of the device's shows.
  rig_->PlaceBar(0, kBar);
  EXPECT_EQ(rig_->Load(fake::kNvmeTable + 4 * 16 + 12, 4), 1u);
  EXPECT_EQ(rig_->Load(fake::kNvmeTable + 5 * 16 + 12, 4), 0xffffffffu);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->WriteVector(4, 0x34, /*masked=*/false);
  rig_->RaiseMsix(4);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x34));
}

TEST_F(VfioPciOptionsTest, OfMsiTheNextLowerPowerOfTwoIsShown) {
  ASSERT_THAT(TryAttach(
                  "edu", [](auto& options) { options.max_vectors = 5; },
                  [](fixture::PciDevice& fixture) {
                    for (fixture::ByteRow& row : *fixture.mutable_config()) {
                      if (row.offset() == 0x40) {
                        row.set_bytes(
                            "05 00 86 00 00 00 00 00 00 00 00 00 00 00 00 00");
                      }
                    }
                    for (fixture::Irq& irq : *fixture.mutable_irqs()) {
                      if (irq.index() == VFIO_PCI_MSI_IRQ_INDEX)
                        irq.set_count(8);
                    }
                  }),
              IsOk());
  EXPECT_EQ(rig_->Read(0x42, 2) >> 1 & 7, 2u);
}

TEST_F(VfioPciOptionsTest, ACapabilityIsHiddenForTheVmmsReason) {
  ASSERT_THAT(TryAttach("nvme",
                        [](auto& options) {
                          options.policy = CapabilityPolicy().With(
                              pci::CapabilityId::kMsix,
                              CapabilityTreatment::kHide, "the guest polls");
                        }),
              IsOk());
  EXPECT_EQ(rig_->FindCapability(0x11), 0u);
  EXPECT_NE(rig_->FindCapability(0x10), 0u);
  EXPECT_THAT(Report(), Contains(HasSubstr("by the VMM: the guest polls")));
  // The table's page stays out of the guest's reach.
  rig_->PlaceBar(0, kBar);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
}

TEST_F(VfioPciOptionsTest, ACapabilityThatIsHiddenByDefaultCanBeShown) {
  ASSERT_THAT(TryAttach("igb", nullptr), IsOk());
  ASSERT_EQ(rig_->FindExtendedCapability(0x0e), 0u);
  TearDown();
  ASSERT_THAT(TryAttach("igb",
                        [](auto& options) {
                          options.policy = CapabilityPolicy().With(
                              pci::ExtendedCapabilityId::kAlternativeRoutingId,
                              CapabilityTreatment::kPass, "its driver asks");
                        }),
              IsOk());
  EXPECT_NE(rig_->FindExtendedCapability(0x0e), 0u);
  EXPECT_THAT(Report(), Contains(AllOf(HasSubstr("passed"),
                                       HasSubstr("(by the VMM: its driver "
                                                 "asks)"))));
}

TEST_F(VfioPciOptionsTest, UnlistedRegistersCanBeReadOnly) {
  for (const bool read_only : {false, true}) {
    ASSERT_THAT(TryAttach("nvme",
                          [read_only](auto& options) {
                            if (!read_only) return;
                            options.policy =
                                CapabilityPolicy().WithUnlistedReadOnly();
                          }),
                IsOk());
    rig_->kernel().journal().Clear();
    rig_->Write(0xffc, 4, 0x12345678);
    EXPECT_EQ(rig_->kernel().journal().Count("pwrite"), read_only ? 0u : 1u);
    EXPECT_EQ(testing::Value(Report(), Contains(HasSubstr("is read-only"))),
              read_only);
    TearDown();
  }
}

// --- The expansion ROM.

TEST_F(VfioPciOptionsTest, ARomIsOffByDefaultAndTheReportSaysWhy) {
  ASSERT_THAT(TryAttach("e1000_rom", nullptr), IsOk());
  rig_->Write(0x30, 4, 0xfffff801);
  EXPECT_EQ(rig_->Read(0x30, 4), 0u);
  EXPECT_FALSE(rig_->device().rom().has_value());
  EXPECT_TRUE(Rom().readable);
  EXPECT_THAT(Report(), Contains(HasSubstr("ROM: not shown, because the VMM "
                                           "does not ask for it")));
  TearDown();
  // A device without one needs no such line.
  ASSERT_THAT(TryAttach("nvme", nullptr), IsOk());
  EXPECT_FALSE(Rom().readable);
  EXPECT_THAT(Report(), Not(Contains(HasSubstr("ROM: not shown"))));
}

TEST_F(VfioPciOptionsTest, TheDevicesRomIsReadOnceSizedAndMoved) {
  ASSERT_THAT(TryAttach("e1000_rom",
                        [](auto& options) {
                          options.rom.source = RomOptions::Source::kDevice;
                        }),
              IsOk());
  ASSERT_TRUE(rig_->device().rom().has_value());
  EXPECT_EQ(rig_->device().rom()->size, 0x40000u);
  EXPECT_EQ(rig_->device().Describe().failure_count, 0u);
  // The guest finds a function that decodes nothing, and so does the host.
  EXPECT_EQ(rig_->Read(0x04, 2) & 0x7, 0u);
  EXPECT_EQ(rig_->Read(0x30, 4), 0u);
  rig_->kernel().journal().Clear();

  // OpenBSD and EDK2 size it without the enable bit, Linux with all address
  // bits (PCI_ROM_ADDRESS_MASK).
  rig_->Write(0x30, 4, 0xfffff800);
  EXPECT_EQ(rig_->Read(0x30, 4), 0xfffc0000u);
  rig_->Write(0x30, 4, kRom);
  EXPECT_EQ(rig_->Read(0x30, 4), kRom);

  // It answers while both its own bit and memory decode are on.
  rig_->Write(0x04, 2, 0x2);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xffffu);
  rig_->Write(0x30, 1, 0x01);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xaa55u);
  EXPECT_EQ(rig_->Load(kRom + 0x3fffe, 2), 0xffffu);
  EXPECT_TRUE(Rom().placed);
  rig_->Write(0x04, 1, 0x0);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xffffu);
  EXPECT_FALSE(Rom().placed);
  rig_->Write(0x04, 1, 0x2);
  rig_->Store(kRom, 4, 0x12345678);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xaa55u);

  // It moves while it is enabled, half by half, and a sizing does not stick.
  rig_->Write(0x32, 2, 0xe900);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xffffu);
  EXPECT_EQ(rig_->Load(0xe9000000, 2), 0xaa55u);
  rig_->Write(0x30, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x30, 4), 0xfffc0001u);
  EXPECT_FALSE(Rom().placed);
  rig_->Write(0x30, 4, kRom | 1);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xaa55u);

  // A reset of the machine disables it, although this device has none of its
  // own, and firmware places it again.
  EXPECT_THAT(rig_->device().Reset(),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_EQ(rig_->Read(0x30, 4), 0u);
  EXPECT_EQ(rig_->Load(kRom, 2), 0xffffu);
  ASSERT_THAT(rig_->device().SetBarAddress(pci::BarIndex::Rom(), kRom), IsOk());
  EXPECT_EQ(rig_->Read(0x30, 4), kRom);
  EXPECT_FALSE(
      rig_->device().SetBarAddress(pci::BarIndex::Rom(), kRom + 0x800).ok());

  // None of this read the device's ROM.
  EXPECT_EQ(rig_->kernel().journal().CountWhere(
                [](const journal::JournalEntry& entry) {
                  return ReadsRom(entry.call);
                }),
            0u);
  EXPECT_THAT(Report(), Contains(HasSubstr("the device's own, 262144 bytes")));
}

TEST_F(VfioPciOptionsTest, ARomFromAFileNeedsNoneInTheDevice) {
  ASSERT_THAT(TryAttach("nvme",
                        [](auto& options) {
                          options.rom.source = RomOptions::Source::kBytes;
                          options.rom.bytes.assign(512, 0x90);
                          options.rom.bytes[0] = 0x55;
                          options.rom.bytes[1] = 0xaa;
                        }),
              IsOk());
  rig_->Write(0x30, 4, 0xfffff800);
  EXPECT_EQ(rig_->Read(0x30, 4), 0xfffff800u);
  rig_->Write(0x30, 4, kRom | 1);
  rig_->PlaceBar(0, kBar);
  EXPECT_EQ(rig_->Load(kRom, 4), 0x9090aa55u);
  EXPECT_EQ(rig_->Load(kRom + 510, 4), 0xffff9090u);
  EXPECT_EQ(rig_->Load(kRom + 2044, 4), 0xffffffffu);
  const auto control = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
  rig_->Write(control, 2, 0x3);
  EXPECT_EQ(rig_->Load(kRom, 4), 0xffffffffu) << "in D3hot";
  rig_->Write(control, 2, 0x0);
  EXPECT_EQ(rig_->Load(kRom, 4), 0x9090aa55u);
  EXPECT_THAT(Rom().note, HasSubstr("no PCI data structure"));
  EXPECT_THAT(Report(), Contains(HasSubstr("a file of the VMM's, 512 bytes")));
  ASSERT_THAT(rig_->device().Detach(), IsOk());
  EXPECT_EQ(rig_->Load(kRom, 4), 0xffffffffu);
}

TEST_F(VfioPciOptionsTest, ABarAtTheRomsAddressAnswers) {
  ASSERT_THAT(TryAttach("nvme",
                        [](auto& options) {
                          options.rom.source = RomOptions::Source::kBytes;
                          options.rom.bytes = {0x55, 0xaa};
                        }),
              IsOk());
  rig_->Write(0x30, 4, kBar | 1);
  rig_->PlaceBar(0, kBar);
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0x00010400u);
  rig_->Write(0x10, 4, 0xd0000000);
  EXPECT_EQ(rig_->Load(kBar, 2), 0xaa55u);
  EXPECT_EQ(rig_->Load(0xd0000008, 4), 0x00010400u);
}

TEST_F(VfioPciOptionsTest, ARomThatTheDeviceDoesNotHaveIsAnError) {
  const Edit edit = [](auto& options) {
    options.rom.source = RomOptions::Source::kDevice;
  };
  const absl::Status status = TryAttach("nvme", edit);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr(rig_->bdf().ToString()),
                                     HasSubstr("VFIO offers none to read"))));
  TearDown();
  EXPECT_THAT(
      TryAttach("e1000_rom", edit,
                [](fixture::PciDevice& fixture) {
                  fixture.mutable_expansion_rom()->mutable_image(0)->set_bytes(
                      "ff ff");
                }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("begins with 55 aa, and this one with ff ff")));
}

TEST_F(VfioPciOptionsTest, ARomThatCannotBeReadIsAnErrorAndDecodeGoesOff) {
  rig_ = std::make_unique<PassthroughRig>(PassthroughRig::Options{
      .fixture = "e1000_rom", .edit_options = [](auto& options) {
        options.rom.source = RomOptions::Source::kDevice;
      }});
  rig_->kernel().faults().FailWhen(ReadsRom, EIO);
  EXPECT_EQ(kernel::ErrnoOf(rig_->Attach()), EIO);
  // COMMAND was written off, on and off again.
  EXPECT_EQ(rig_->kernel().journal().Count("pwrite"), 3u);
  EXPECT_EQ(rig_->host().vfio().Snapshot(rig_->bdf())->open_files, 0u);
}

}  // namespace
}  // namespace passthru::vfio_pci
