// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/config_shadow.h"

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/little_endian.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using ByteRun = ConfigShadow::Run;

// The image of a device, as VFIO reads it.
class Image {
 public:
  explicit Image(size_t size) : bytes_(size) {
    Put<uint16_t>(0x00, 0x8086);
    Put<uint16_t>(0x02, 0x1234);
    Put<uint16_t>(0x06, 0x0010);
    Put<uint8_t>(0x34, 0);
    Put<uint8_t>(0x3d, 1);
  }
  template <typename T>
  Image& Put(size_t offset, T value) {
    pci::StoreLittleEndian(absl::MakeSpan(bytes_), offset, value);
    return *this;
  }
  // Appends to the standard list.
  Image& Capability(uint8_t id, uint8_t offset) {
    Put<uint8_t>(last_, offset);
    Put<uint8_t>(offset, id);
    last_ = offset + 1u;
    return *this;
  }
  // Appends to the extended list, which begins at 0x100.
  Image& Extended(uint16_t id, uint16_t offset) {
    if (last_extended_ != 0) {
      const auto header =
          pci::LoadLittleEndian<uint32_t>(bytes_, last_extended_);
      Put<uint32_t>(last_extended_, header | uint32_t{offset} << 20);
    }
    Put<uint32_t>(offset, 0x10000u | id);
    last_extended_ = offset;
    return *this;
  }
  absl::Span<const uint8_t> bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  size_t last_ = 0x34;
  size_t last_extended_ = 0;
};

pci::Bar Memory32(uint8_t index, uint64_t size) {
  return {.index = pci::BarIndex(index),
          .type = pci::BarType::kMemory32,
          .size = size};
}

ConfigShadow Create(const Image& image, ConfigShadow::Options options = {}) {
  absl::StatusOr<ConfigShadow> shadow =
      ConfigShadow::Create(image.bytes(), std::move(options));
  CHECK_OK(shadow);
  return *std::move(shadow);
}

uint32_t Read(const ConfigShadow& shadow, uint16_t offset, unsigned width,
              uint32_t device = 0) {
  std::array<uint8_t, 4> bytes;
  pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, device);
  shadow.Merge(offset, absl::MakeSpan(bytes).first(width));
  const auto value = pci::LoadLittleEndian<uint32_t>(bytes, 0);
  return width == 4 ? value : value & ((uint32_t{1} << 8 * width) - 1);
}

void Write(ConfigShadow& shadow, uint16_t offset, unsigned width,
           uint32_t value) {
  std::array<uint8_t, 4> bytes;
  pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, value);
  shadow.Write(offset, absl::MakeSpan(bytes).first(width));
}

std::vector<uint8_t> Chain(const ConfigShadow& shadow) {
  std::vector<uint8_t> offsets;
  auto at = static_cast<uint8_t>(Read(shadow, 0x34, 1));
  while (at != 0 && offsets.size() < 64) {
    offsets.push_back(at);
    at = static_cast<uint8_t>(Read(shadow, at + 1, 1));
  }
  return offsets;
}

std::vector<uint16_t> ExtendedChain(const ConfigShadow& shadow) {
  std::vector<uint16_t> offsets;
  uint16_t at = 0x100;
  while (at >= 0x100 && offsets.size() < 64) {
    const uint32_t header = Read(shadow, at, 4);
    if ((header & 0xffff) != 0) offsets.push_back(at);
    at = static_cast<uint16_t>(header >> 20);
  }
  return offsets;
}

TEST(ConfigShadowTest, RefusesABridge) {
  EXPECT_THAT(
      ConfigShadow::Create(Image(256).Put<uint8_t>(0x0e, 0x01).bytes(), {}),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("bridge")));
}

TEST(ConfigShadowTest, RefusesAnImageOfAnotherSize) {
  const std::vector<uint8_t> image(64);
  EXPECT_THAT(ConfigShadow::Create(image, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ConfigShadowTest, TheMultifunctionBitIsTheGuestBuss) {
  const ConfigShadow shadow = Create(Image(256).Put<uint8_t>(0x0e, 0x80));
  EXPECT_EQ(Read(shadow, 0x0e, 1, 0x80), 0u);
}

// Every byte that the guest reads otherwise than the device answers has a
// reason, and of several the last one tells.
TEST(ConfigShadowTest, EveryVirtualByteHasAReason) {
  Image image(4096);
  image.Capability(0x05, 0x40).Capability(0x03, 0x60).Extended(0x1e, 0x100);
  image.Put<uint32_t>(0x10, 0xfe000000).Put<uint8_t>(0x3c, 11);
  ConfigShadow::Options options = {.bars = {Memory32(0, 0x1000)}};
  options.policy = CapabilityPolicy().With(pci::CapabilityId::kVitalProductData,
                                           CapabilityTreatment::kHide, "mine");
  options.identity.device_id = 0x4321;
  options.intx_hidden_reason = "no line";
  options.msi_vectors = 1;
  const ConfigShadow shadow = Create(image, options);
  const auto reason = [&shadow](size_t offset) -> std::string {
    for (auto view = shadow.registers().rbegin();
         view != shadow.registers().rend(); ++view) {
      if (offset >= view->offset && offset < view->offset + view->size) {
        return view->by_vmm ? "VMM: " + view->reason : view->reason;
      }
    }
    return "";
  };
  for (size_t i = 0; i < image.bytes().size(); ++i) {
    const auto at = static_cast<uint16_t>(i);
    if (Read(shadow, at, 1, image.bytes()[i]) != image.bytes()[i]) {
      EXPECT_NE(reason(i), "") << i;
    }
  }
  EXPECT_THAT(reason(0x02), HasSubstr("VMM: "));
  EXPECT_EQ(reason(0x3d), "no line");
  EXPECT_EQ(reason(0x60), "VMM: mine");
  EXPECT_THAT(reason(0x41), HasSubstr("list"));
  EXPECT_EQ(reason(0x102), "the link is the host's");
  EXPECT_EQ(reason(0x80), "");
}

TEST(ConfigShadowTest, ConstantsNeedNoDevice) {
  const ConfigShadow shadow = Create(Image(256));
  for (const uint16_t offset : {0x00, 0x08, 0x10, 0x24, 0x28, 0x2c, 0x30}) {
    EXPECT_FALSE(shadow.NeedsDevice(offset, 4)) << offset;
  }
  EXPECT_FALSE(shadow.NeedsDevice(0x34, 1));
  EXPECT_FALSE(shadow.NeedsDevice(0x3c, 4));
  EXPECT_TRUE(shadow.NeedsDevice(0x04, 2));
  EXPECT_TRUE(shadow.NeedsDevice(0x06, 2));
  EXPECT_TRUE(shadow.NeedsDevice(0x40, 1));
}

TEST(ConfigShadowTest, OutsideOfTheSpaceAllOnesWithoutADevice) {
  const ConfigShadow shadow = Create(Image(256));
  EXPECT_FALSE(shadow.NeedsDevice(0x100, 4));
  EXPECT_EQ(Read(shadow, 0x100, 4), 0xffffffffu);
  EXPECT_FALSE(shadow.TouchesTopology(0xffc, 4));
  EXPECT_THAT(shadow.DeviceRuns(0xffc, 4), IsEmpty());
}

TEST(ConfigShadowTest, DecodeBitsAreVirtualTheRestOfCommandIsNot) {
  ConfigShadow shadow = Create(Image(256), {.bars = {Memory32(0, 0x1000)}});
  Write(shadow, 0x04, 2, 0xffff);
  // The function has no I/O BAR.
  EXPECT_EQ(Read(shadow, 0x04, 2, 0x0000), 0x0002u);
  EXPECT_EQ(Read(shadow, 0x04, 2, 0x0544), 0x0546u);
  EXPECT_THAT(shadow.DeviceRuns(0x04, 2), ElementsAre(ByteRun{0, 2}));
}

TEST(ConfigShadowTest, ABarHoldsWhatWasWrittenInAnyWidth) {
  ConfigShadow shadow = Create(Image(256), {.bars = {Memory32(1, 0x10000)}});
  Write(shadow, 0x14, 4, 0xffffffff);
  EXPECT_EQ(Read(shadow, 0x14, 4), 0xffff0000u);
  Write(shadow, 0x17, 1, 0x12);
  Write(shadow, 0x16, 1, 0x34);
  EXPECT_EQ(Read(shadow, 0x14, 4), 0x12340000u);
  EXPECT_EQ(shadow.Bars()[0].address, 0x12340000u);
  EXPECT_THAT(shadow.DeviceRuns(0x14, 4), IsEmpty());
}

TEST(ConfigShadowTest, ABarThatIsNotImplementedStaysZero) {
  ConfigShadow shadow = Create(Image(256).Put<uint32_t>(0x18, 0xfe000000));
  Write(shadow, 0x18, 4, 0xffffffff);
  EXPECT_EQ(Read(shadow, 0x18, 4), 0u);
}

TEST(ConfigShadowTest, TheRomIsHidden) {
  ConfigShadow shadow = Create(Image(256).Put<uint32_t>(0x30, 0xfffc0001));
  EXPECT_EQ(Read(shadow, 0x30, 4, 0xfffc0001), 0u);
  Write(shadow, 0x30, 4, 0xfffff801);
  EXPECT_EQ(Read(shadow, 0x30, 4), 0u);
}

// The register is sized and moved like a BAR's (PCI 3.0 6.2.5.2).
TEST(ConfigShadowTest, AShownRomIsSizedMovedAndEnabled) {
  const pci::Bar rom = {.index = pci::BarIndex::Rom(), .size = 0x10000};
  ConfigShadow shadow = Create(Image(256), {.rom = rom});
  EXPECT_EQ(Read(shadow, 0x30, 4, 0xffffffff), 0u);
  Write(shadow, 0x30, 4, 0xfffff800);
  EXPECT_EQ(Read(shadow, 0x30, 4), 0xffff0000u);
  Write(shadow, 0x30, 4, 0xffffffff);
  EXPECT_EQ(Read(shadow, 0x30, 4), 0xffff0001u);
  Write(shadow, 0x32, 2, 0xe123);
  Write(shadow, 0x30, 1, 0x00);
  EXPECT_EQ(Read(shadow, 0x30, 4), 0xe1230000u);
  ASSERT_TRUE(shadow.Rom().has_value());
  EXPECT_EQ(shadow.Rom()->address, 0xe1230000u);
  EXPECT_FALSE(shadow.Rom()->rom_enabled);
  Write(shadow, 0x30, 1, 0x01);
  EXPECT_TRUE(shadow.Rom()->rom_enabled);
  EXPECT_TRUE(shadow.TouchesTopology(0x33, 1));
  EXPECT_THAT(shadow.DeviceRuns(0x30, 4), IsEmpty());
  // Memory decode is there, though the function has no memory BAR.
  Write(shadow, 0x04, 2, 0x0002);
  EXPECT_EQ(Read(shadow, 0x04, 2), 0x0002u);

  EXPECT_TRUE(shadow.SetBarAddress(pci::BarIndex::Rom(), 0xd0000000));
  EXPECT_EQ(Read(shadow, 0x30, 4), 0xd0000001u);
  EXPECT_FALSE(shadow.SetBarAddress(pci::BarIndex::Rom(), 0xd0000800));
  EXPECT_FALSE(shadow.SetBarAddress(pci::BarIndex::Rom(), 0x100000000));
  shadow.Reset();
  EXPECT_EQ(Read(shadow, 0x30, 4), 0u);
}

TEST(ConfigShadowTest, TheInterruptPinIsShownOnlyWithALine) {
  EXPECT_EQ(Read(Create(Image(256)), 0x3d, 1, 1), 0u);
  EXPECT_EQ(Read(Create(Image(256), {.intx = true}), 0x3d, 1, 1), 1u);
}

TEST(ConfigShadowTest, AWriteIsCutIntoTheRunsThatTheDeviceGets) {
  // Byte 0x0e, the header type, is virtual. Its neighbours are not.
  const ConfigShadow shadow = Create(Image(256));
  EXPECT_THAT(shadow.DeviceRuns(0x0c, 4),
              ElementsAre(ByteRun{0, 2}, ByteRun{3, 1}));
}

TEST(ConfigShadowTest, TopologyIsBarsCommandPowerAndReset) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x01, 0x40)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0002)
                                         .Put<uint32_t>(0x64, 1u << 28));
  EXPECT_TRUE(shadow.TouchesTopology(0x10, 1));
  EXPECT_TRUE(shadow.TouchesTopology(0x27, 1));
  EXPECT_TRUE(shadow.TouchesTopology(0x04, 1));
  EXPECT_FALSE(shadow.TouchesTopology(0x05, 1));
  EXPECT_TRUE(shadow.TouchesTopology(0x44, 1));
  EXPECT_TRUE(shadow.TouchesTopology(0x68, 2));
  EXPECT_FALSE(shadow.TouchesTopology(0x68, 1));
  EXPECT_FALSE(shadow.TouchesTopology(0x28, 4));
}

TEST(ConfigShadowTest, ResetIsStartedByItsBitAlone) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0002)
                                         .Put<uint32_t>(0x64, 1u << 28));
  EXPECT_TRUE(shadow.StartsReset(0x68, std::vector<uint8_t>{0x00, 0x80}));
  EXPECT_TRUE(shadow.StartsReset(0x69, std::vector<uint8_t>{0x80}));
  EXPECT_FALSE(shadow.StartsReset(0x68, std::vector<uint8_t>{0x80}));
  EXPECT_FALSE(shadow.StartsReset(0x68, std::vector<uint8_t>{0xff, 0x7f}));
}

TEST(ConfigShadowTest, ADeviceWithoutFlrHasNoResetBit) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x10, 0x60).Put<uint16_t>(0x62, 0x0002));
  EXPECT_FALSE(shadow.StartsReset(0x69, std::vector<uint8_t>{0x80}));
}

TEST(ConfigShadowTest, AdvancedFeaturesStartAReset) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x13, 0x40)
                                         .Put<uint8_t>(0x42, 6)
                                         .Put<uint8_t>(0x43, 0x03));
  EXPECT_TRUE(shadow.StartsReset(0x44, std::vector<uint8_t>{0x01}));
}

// --- Capability lists.

TEST(ConfigShadowTest, AHiddenCapabilityIsUnlinkedReadsZeroAndSwallowsWrites) {
  // The capability in the middle is slot identification.
  ConfigShadow shadow = Create(Image(256)
                                   .Capability(0x01, 0x40)
                                   .Capability(0x04, 0x50)
                                   .Capability(0x09, 0x60)
                                   .Put<uint8_t>(0x52, 0xaa));
  EXPECT_THAT(Chain(shadow), ElementsAre(0x40, 0x60));
  EXPECT_EQ(Read(shadow, 0x50, 4, 0xdeadbeef), 0u);
  EXPECT_FALSE(shadow.NeedsDevice(0x50, 4));
  EXPECT_THAT(shadow.DeviceRuns(0x50, 4), IsEmpty());
}

TEST(ConfigShadowTest, TheFirstAndTheLastCapabilityCanBeHidden) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x04, 0x40)
                                         .Capability(0x01, 0x50)
                                         .Capability(0x0c, 0x60));
  EXPECT_THAT(Chain(shadow), ElementsAre(0x50));
}

TEST(ConfigShadowTest, WithAllHiddenThereIsNoList) {
  const ConfigShadow shadow = Create(Image(256).Capability(0x04, 0x40));
  EXPECT_EQ(Read(shadow, 0x34, 1), 0u);
  EXPECT_EQ(Read(shadow, 0x06, 2, 0x0010), 0u);
}

TEST(ConfigShadowTest, ABrokenListEndsWhereItBreaks) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x01, 0x40)
                                         .Capability(0x09, 0x50)
                                         .Put<uint8_t>(0x51, 0x40));
  EXPECT_THAT(Chain(shadow), ElementsAre(0x40, 0x50));
  EXPECT_EQ(shadow.malformed().size(), 1u);
}

TEST(ConfigShadowTest, ExtendedCapabilitiesAreHiddenInTheMiddle) {
  const ConfigShadow shadow = Create(Image(4096)
                                         .Extended(0x0001, 0x100)
                                         .Extended(0x0010, 0x160)
                                         .Extended(0x0003, 0x200));
  EXPECT_THAT(ExtendedChain(shadow), ElementsAre(0x100, 0x200));
  EXPECT_EQ(Read(shadow, 0x164, 4, 0xffffffff), 0u);
}

TEST(ConfigShadowTest, AHiddenFirstExtendedCapabilityLeadsOn) {
  const ConfigShadow shadow = Create(Image(4096)
                                         .Extended(0x000e, 0x100)
                                         .Extended(0x0010, 0x140)
                                         .Extended(0x0003, 0x200));
  EXPECT_EQ(Read(shadow, 0x100, 4, 0xffffffff), 0x20000000u);
  EXPECT_THAT(ExtendedChain(shadow), ElementsAre(0x200));
}

TEST(ConfigShadowTest, WithAllExtendedHiddenTheListIsEmpty) {
  const ConfigShadow shadow = Create(Image(4096).Extended(0x0010, 0x100));
  EXPECT_EQ(Read(shadow, 0x100, 4, 0x00010010), 0u);
}

TEST(ConfigShadowTest, UnlistedExtendedSpaceCanBeReadOnly) {
  Image image(4096);
  image.Capability(0x01, 0x40).Extended(0x03, 0x100).Extended(0x01, 0x140);
  const ConfigShadow open = Create(image);
  const ConfigShadow shadow =
      Create(image, {.policy = CapabilityPolicy().WithUnlistedReadOnly()});
  // The serial number has 12 bytes, and then comes nothing until 0x140.
  EXPECT_THAT(open.DeviceRuns(0x10c, 4), ElementsAre(ByteRun{0, 4}));
  EXPECT_THAT(shadow.DeviceRuns(0x10c, 4), IsEmpty());
  EXPECT_THAT(shadow.DeviceRuns(0x10a, 4), ElementsAre(ByteRun{0, 2}));
  EXPECT_THAT(shadow.DeviceRuns(0xffc, 4), IsEmpty());
  EXPECT_TRUE(shadow.NeedsDevice(0x10c, 4)) << "it reads what the device has";
  EXPECT_THAT(shadow.DeviceRuns(0x148, 4), ElementsAre(ByteRun{0, 4}));
  // Standard configuration space is as before.
  EXPECT_THAT(shadow.DeviceRuns(0xf0, 4), ElementsAre(ByteRun{0, 4}));
}

TEST(ConfigShadowTest, ThePolicyCanBeAnother) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x01, 0x40).Capability(0x03, 0x50),
             {.policy = CapabilityPolicy().With(
                  pci::CapabilityId::kPowerManagement,
                  CapabilityTreatment::kHide, "it hurts")});
  EXPECT_THAT(Chain(shadow), ElementsAre(0x50));
  EXPECT_EQ(shadow.capabilities()[0].reason, "it hurts");
}

TEST(ConfigShadowTest, AVirtualizedCapabilityThatOverlapsIsHidden) {
  // MSI-X is 12 bytes long, but the next capability begins after 8.
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x11, 0x40).Capability(0x01, 0x48),
             {.msix_vectors = 1});
  EXPECT_THAT(Chain(shadow), ElementsAre(0x48));
  EXPECT_FALSE(shadow.msix().has_value());
}

// --- MSI and MSI-X.

TEST(ConfigShadowTest, MsiControlIsVirtual) {
  // This MSI has 64-bit addresses, per-vector masking and 8 vectors, and is
  // enabled on the host.
  ConfigShadow shadow =
      Create(Image(256).Capability(0x05, 0x40).Put<uint16_t>(0x42, 0x0187),
             {.msi_vectors = 8});
  ASSERT_TRUE(shadow.msi().has_value());
  EXPECT_EQ(Read(shadow, 0x42, 2, 0xffff), 0x0186u);
  Write(shadow, 0x40, 4, 0xffff0000);
  EXPECT_EQ(Read(shadow, 0x42, 2), 0x01f7u);
  EXPECT_TRUE(shadow.MsiState().enabled);
  EXPECT_FALSE(shadow.NeedsDevice(0x40, 24));
  EXPECT_THAT(shadow.DeviceRuns(0x40, 24), IsEmpty());
}

TEST(ConfigShadowTest, MsiShowsAsManyVectorsAsThereAre) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x05, 0x40).Put<uint16_t>(0x42, 0x0088),
             {.msi_vectors = 4});
  EXPECT_EQ(Read(shadow, 0x42, 2), 0x0084u);
  EXPECT_EQ(shadow.msi()->max_vectors(), 4u);
}

TEST(ConfigShadowTest, MsiWithoutAVectorIsHiddenForTheReasonGiven) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x05, 0x40),
             {.msi_hidden_reason = "no vectors for you"});
  EXPECT_THAT(Chain(shadow), IsEmpty());
  EXPECT_EQ(shadow.capabilities()[0].reason, "no vectors for you");
}

TEST(ConfigShadowTest, ExtendedMessageDataIsNotOffered) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x05, 0x40).Put<uint16_t>(0x42, 0x0680),
             {.msi_vectors = 1});
  EXPECT_EQ(Read(shadow, 0x42, 2), 0x0080u);
}

TEST(ConfigShadowTest, MsixControlTakesEnableAndMaskInAnyWidth) {
  ConfigShadow shadow =
      Create(Image(256).Capability(0x11, 0x40).Put<uint16_t>(0x42, 0x8007),
             {.msix_vectors = 8});
  EXPECT_EQ(Read(shadow, 0x42, 2), 0x0007u);
  Write(shadow, 0x43, 1, 0xff);
  EXPECT_EQ(Read(shadow, 0x42, 2), 0xc007u);
  Write(shadow, 0x40, 4, 0x80000000);
  EXPECT_EQ(Read(shadow, 0x42, 2), 0x8007u);
}

TEST(ConfigShadowTest, MsixShowsAsManyVectorsAsThereAre) {
  const ConfigShadow shadow =
      Create(Image(256).Capability(0x11, 0x40).Put<uint16_t>(0x42, 0x07ff),
             {.msix_vectors = 100});
  EXPECT_EQ(shadow.MsixControl().vector_count(), 100u);
  EXPECT_EQ(shadow.msix()->table_size(), 100u);
}

TEST(ConfigShadowTest, ThePbaIsWhereTheGuestIsTold) {
  const ConfigShadow shadow =
      Create(Image(256)
                 .Capability(0x11, 0x40)
                 .Put<uint16_t>(0x42, 7)
                 .Put<uint32_t>(0x44, 0x2000)
                 .Put<uint32_t>(0x48, 0x2010),
             {.msix_vectors = 8,
              .msix_pba = pci::MsixLocation::At(pci::BarIndex(0), 0x2080)});
  EXPECT_EQ(Read(shadow, 0x44, 4), 0x2000u);
  EXPECT_EQ(Read(shadow, 0x48, 4), 0x2080u);
  ASSERT_TRUE(shadow.msix().has_value());
  EXPECT_EQ(shadow.msix()->pba_offset(), 0x2080u);
}

TEST(ConfigShadowTest, TheIdentityCanBeAnother) {
  const ConfigShadow shadow =
      Create(Image(256), {.identity = {.vendor_id = 0x1234,
                                       .subsystem_id = 0x5678,
                                       .class_code = pci::ClassCode{1, 8, 2},
                                       .revision_id = 9}});
  EXPECT_EQ(Read(shadow, 0x00, 4, 0xffffffff), 0x12341234u);
  EXPECT_EQ(Read(shadow, 0x2c, 4, 0xffffffff), 0x56780000u);
  EXPECT_EQ(Read(shadow, 0x08, 4, 0xffffffff), 0x01080209u);
  EXPECT_FALSE(shadow.NeedsDevice(0x00, 4));
  EXPECT_FALSE(shadow.NeedsDevice(0x2c, 4));
}

TEST(ConfigShadowTest, ResetClearsWhatTheGuestWrote) {
  ConfigShadow shadow = Create(
      Image(256)
          .Capability(0x05, 0x40)
          .Put<uint16_t>(0x42, 0x0186)
          .Capability(0x11, 0x60)
          .Put<uint16_t>(0x62, 0x0003),
      {.bars = {Memory32(0, 0x1000)}, .msi_vectors = 8, .msix_vectors = 4});
  const std::vector<uint8_t> before(shadow.bytes().begin(),
                                    shadow.bytes().end());
  for (uint16_t offset = 0; offset < 0x100; offset += 4) {
    Write(shadow, offset, 4, 0xffffffff);
  }
  EXPECT_NE(std::vector<uint8_t>(shadow.bytes().begin(), shadow.bytes().end()),
            before);
  shadow.Reset();
  EXPECT_EQ(std::vector<uint8_t>(shadow.bytes().begin(), shadow.bytes().end()),
            before);
}

// --- PCI Express.

TEST(ConfigShadowTest, ALegacyEndpointOnTheRootBusIsConventional) {
  Image image(256);
  image.Capability(0x01, 0x40)
      .Capability(0x10, 0x60)
      .Put<uint16_t>(0x62, 0x0012)
      .Put<uint32_t>(0x64, 0x10000000);
  const ConfigShadow shadow = Create(image);
  EXPECT_THAT(Chain(shadow), ElementsAre(0x40));
  EXPECT_EQ(shadow.capabilities()[1].treatment, CapabilityTreatment::kHide);
  EXPECT_THAT(shadow.capabilities()[1].reason, HasSubstr("Legacy Endpoint"));
  // Its reset bit, which the guest cannot find, resets nothing.
  EXPECT_FALSE(shadow.StartsReset(0x68, {0x00, 0x80}));

  // Unless the VMM wants it so.
  const ConfigShadow shown = Create(
      image, {.policy = CapabilityPolicy().With(
                  pci::CapabilityId::kPciExpress,
                  CapabilityTreatment::kVirtualize, "its driver asks for it")});
  EXPECT_THAT(Chain(shown), ElementsAre(0x40, 0x60));
  EXPECT_EQ(Read(shown, 0x62, 2), 0x0012u);
  EXPECT_TRUE(shown.capabilities()[1].by_vmm);
}

TEST(ConfigShadowTest, ALegacyEndpointBelowAPortKeepsTypeAndLink) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0012)
                                         .Put<uint32_t>(0x6c, 0x00000411),
                                     {.on_root_bus = false});
  EXPECT_EQ(Read(shadow, 0x62, 2), 0x0012u);
  EXPECT_EQ(Read(shadow, 0x6c, 4), 0x411u);
}

TEST(ConfigShadowTest, AnIntegratedEndpointBelowAPortGetsALink) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0092)
                                         .Put<uint32_t>(0x6c, 0xffffffff)
                                         .Put<uint32_t>(0x70, 0xffffffff)
                                         .Put<uint32_t>(0x8c, 0xffffffff)
                                         .Put<uint32_t>(0x90, 0xffffffff),
                                     {.on_root_bus = false});
  EXPECT_EQ(Read(shadow, 0x62, 2), 0x0002u);
  // One lane at 2.5 GT/s, whatever the device answers there.
  EXPECT_EQ(Read(shadow, 0x6c, 4, 0xffffffff), 0x00000011u);
  EXPECT_EQ(Read(shadow, 0x70, 4, 0xffffffff), 0x00110000u);
  EXPECT_EQ(Read(shadow, 0x8c, 4, 0xffffffff), 0u);
  EXPECT_EQ(Read(shadow, 0x90, 4, 0xffffffff), 0u);
  // What follows is not the capability's.
  EXPECT_EQ(Read(shadow, 0x94, 4, 0x12345678), 0x12345678u);
}

// The capability of version 1 ends with Device Status if there is no link, so
// another may follow at once.
TEST(ConfigShadowTest, WithoutRoomForALinkTheTypeStays) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0091)
                                         .Capability(0x01, 0x6c),
                                     {.on_root_bus = false});
  EXPECT_THAT(Chain(shadow), ElementsAre(0x60, 0x6c));
  EXPECT_EQ(Read(shadow, 0x62, 2), 0x0091u);
  EXPECT_EQ(Read(shadow, 0x6c, 1), 0x01u);
  EXPECT_THAT(shadow.capabilities()[0].reason, HasSubstr("no room"));

  const ConfigShadow roomy = Create(Image(256)
                                        .Capability(0x10, 0x60)
                                        .Put<uint16_t>(0x62, 0x0091)
                                        .Capability(0x01, 0x74),
                                    {.on_root_bus = false});
  EXPECT_EQ(Read(roomy, 0x62, 2), 0x0001u);
  EXPECT_EQ(Read(roomy, 0x70, 4), 0x00110000u);
}

// The virtual functions of Intel 82599 report version 0, and Windows refuses
// them (Code 10).
TEST(ConfigShadowTest, VersionZeroIsShownAsOne) {
  for (const bool on_root_bus : {true, false}) {
    const ConfigShadow shadow =
        Create(Image(256).Capability(0x10, 0xa0), {.on_root_bus = on_root_bus});
    EXPECT_EQ(Read(shadow, 0xa2, 2), on_root_bus ? 0x0091u : 0x0001u);
  }
}

TEST(ConfigShadowTest, APortThatClaimsToBeADeviceIsConventional) {
  for (const uint16_t type : {0x4, 0x5, 0x6, 0x7, 0x8, 0xa, 0xf}) {
    for (const bool on_root_bus : {true, false}) {
      const ConfigShadow shadow =
          Create(Image(256)
                     .Capability(0x10, 0x60)
                     .Put<uint16_t>(0x62, static_cast<uint16_t>(type << 4 | 2)),
                 {.on_root_bus = on_root_bus});
      EXPECT_THAT(Chain(shadow), IsEmpty()) << type;
    }
  }
}

TEST(ConfigShadowTest, AnIntegratedEndpointHasNoLink) {
  const ConfigShadow shadow = Create(Image(256)
                                         .Capability(0x10, 0x60)
                                         .Put<uint16_t>(0x62, 0x0002)
                                         .Put<uint32_t>(0x6c, 0x00000411)
                                         .Put<uint32_t>(0x70, 0x00110000));
  EXPECT_EQ(Read(shadow, 0x62, 2), 0x0092u);
  EXPECT_EQ(Read(shadow, 0x6c, 4, 0x411), 0u);
  EXPECT_EQ(Read(shadow, 0x70, 4, 0x00110000), 0u);
}

}  // namespace
}  // namespace passthru::vfio_pci
