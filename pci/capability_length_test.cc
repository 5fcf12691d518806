// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_length.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

constexpr uint8_t kCapabilityOffset = 0x50;
constexpr uint16_t kExtendedOffset = 0x150;

std::optional<uint16_t> Length(const ConfigImage& image, CapabilityId id,
                               uint8_t offset = kCapabilityOffset) {
  return StandardCapabilityLength(image.bytes(), {.id = id, .offset = offset});
}

std::optional<uint16_t> Length(const ConfigImage& image,
                               ExtendedCapabilityId id, uint8_t version = 1) {
  return ExtendedCapabilityLength(
      image.bytes(), {.id = id, .version = version, .offset = kExtendedOffset});
}

// Returns an image with `value` as the double word at `offset` into the
// extended capability.
ConfigImage Extended(unsigned offset, uint32_t value) {
  ConfigImage image(4096);
  image.Set32(kExtendedOffset + offset, value);
  return image;
}

TEST(StandardCapabilityLengthTest, CapturedFunctions) {
  const auto lengths = [](const ConfigImage& image) {
    std::vector<std::optional<uint16_t>> result;
    for (const Capability& capability :
         WalkCapabilities(image.bytes()).entries) {
      result.push_back(StandardCapabilityLength(image.bytes(), capability));
    }
    return result;
  };
  EXPECT_THAT(lengths(CapturedNvme()), ElementsAre(12, 0x34, 8));
  EXPECT_THAT(lengths(CapturedE1000e()), ElementsAre(8, 14, 0x14, 12));
  EXPECT_THAT(lengths(CapturedAhci()), ElementsAre(14, 8));
  EXPECT_THAT(lengths(CapturedVirtioNet()),
              ElementsAre(12, 20, 20, 16, 16, 16, 8, 0x34));
}

TEST(StandardCapabilityLengthTest, OfFixedLayout) {
  const ConfigImage image;
  EXPECT_THAT(Length(image, CapabilityId::kPowerManagement), Optional(8));
  EXPECT_THAT(Length(image, CapabilityId::kAgp), Optional(12));
  EXPECT_THAT(Length(image, CapabilityId::kVitalProductData), Optional(8));
  EXPECT_THAT(Length(image, CapabilityId::kSlotIdentification), Optional(4));
  EXPECT_THAT(Length(image, CapabilityId::kMsix), Optional(12));
  EXPECT_THAT(Length(image, CapabilityId::kAdvancedFeatures), Optional(6));
  EXPECT_THAT(Length(image, CapabilityId::kBridgeSubsystemId), Optional(8));
  EXPECT_THAT(Length(image, CapabilityId::kNull), Optional(2));
}

// The last control word declares a reserved number of vectors.
TEST(StandardCapabilityLengthTest, MsiInItsFourLayouts) {
  const auto msi = [](uint16_t control) {
    ConfigImage image;
    image.Set16(kCapabilityOffset + 2, control);
    return Length(image, CapabilityId::kMsi);
  };
  EXPECT_THAT(msi(0x0000), Optional(10));
  EXPECT_THAT(msi(0x0080), Optional(14));
  EXPECT_THAT(msi(0x0100), Optional(20));
  EXPECT_THAT(msi(0x018e), Optional(24));
}

TEST(StandardCapabilityLengthTest, PciXByVersion) {
  ConfigImage image;
  EXPECT_THAT(Length(image, CapabilityId::kPciX), Optional(8));
  image.Set16(kCapabilityOffset + 2, 0x1000);
  EXPECT_THAT(Length(image, CapabilityId::kPciX), Optional(24));
  image.Set16(kCapabilityOffset + 2, 0x2000);
  EXPECT_THAT(Length(image, CapabilityId::kPciX), Optional(24));
}

TEST(StandardCapabilityLengthTest, HyperTransportByType) {
  ConfigImage image;
  EXPECT_THAT(Length(image, CapabilityId::kHyperTransport), Optional(28));
  image.Set8(kCapabilityOffset + 3, 0x20);
  EXPECT_THAT(Length(image, CapabilityId::kHyperTransport), Optional(24));
}

TEST(StandardCapabilityLengthTest, VendorSpecificIsDeclared) {
  ConfigImage image;
  image.Set8(kCapabilityOffset + 2, 0x14);
  EXPECT_THAT(Length(image, CapabilityId::kVendorSpecific), Optional(0x14));
  image.Set8(kCapabilityOffset + 2, 2);
  EXPECT_EQ(Length(image, CapabilityId::kVendorSpecific), std::nullopt);
}

TEST(StandardCapabilityLengthTest, SataByTheLocationOfItsRegisters) {
  ConfigImage image;
  image.Set8(kCapabilityOffset + 4, 0x48);
  EXPECT_THAT(Length(image, CapabilityId::kSata), Optional(8));
  image.Set8(kCapabilityOffset + 4, 0x4f);
  EXPECT_THAT(Length(image, CapabilityId::kSata), Optional(16));
}

TEST(StandardCapabilityLengthTest, PciExpressByVersionAndType) {
  ConfigImage image;
  image.AddCapability(kCapabilityOffset, 0x10)
      .Set16(kCapabilityOffset + 2, 0x0091);
  EXPECT_THAT(Length(image, CapabilityId::kPciExpress), Optional(0x0c));
  image.Set16(kCapabilityOffset + 2, 0x0001);
  EXPECT_THAT(Length(image, CapabilityId::kPciExpress), Optional(0x14));
}

TEST(StandardCapabilityLengthTest, EnhancedAllocationByItsEntries) {
  ConfigImage image;
  EXPECT_THAT(Length(image, CapabilityId::kEnhancedAllocation), Optional(4));
  // Two entries, of 2 and 4 double words after their first.
  image.Set8(kCapabilityOffset + 2, 2)
      .Set32(kCapabilityOffset + 4, 2)
      .Set32(kCapabilityOffset + 16, 4);
  EXPECT_THAT(Length(image, CapabilityId::kEnhancedAllocation),
              Optional(4 + 12 + 20));
  // In a bridge the entries start one double word later.
  ConfigImage bridge;
  bridge.Set8(0x0e, 0x01)
      .Set8(kCapabilityOffset + 2, 1)
      .Set32(kCapabilityOffset + 8, 2);
  EXPECT_THAT(Length(bridge, CapabilityId::kEnhancedAllocation),
              Optional(8 + 12));
}

TEST(StandardCapabilityLengthTest, NotDetermined) {
  const ConfigImage image;
  EXPECT_EQ(Length(image, CapabilityId::kSecureDevice), std::nullopt);
  EXPECT_EQ(Length(image, CapabilityId::kAgp8x), std::nullopt);
  EXPECT_EQ(Length(image, static_cast<CapabilityId>(0x80)), std::nullopt);
}

TEST(StandardCapabilityLengthTest, NothingWhereTheSizeIsBeyondTheSpace) {
  ConfigImage image(4096);
  for (const CapabilityId id :
       {CapabilityId::kMsi, CapabilityId::kPciX, CapabilityId::kHyperTransport,
        CapabilityId::kVendorSpecific, CapabilityId::kSata,
        CapabilityId::kPciExpress, CapabilityId::kEnhancedAllocation}) {
    EXPECT_EQ(StandardCapabilityLength(image.bytes().first(0xfe),
                                       {.id = id, .offset = 0xfc}),
              std::nullopt)
        << Name(id);
  }
  // Bytes of the extended space do not count.
  EXPECT_EQ(Length(image, CapabilityId::kSata, 0xfc), std::nullopt);
}

TEST(ExtendedCapabilityLengthTest, OfFixedLayout) {
  const ConfigImage image(4096);
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(image, Id::kAdvancedErrorReporting), Optional(0x2c));
  EXPECT_THAT(Length(image, Id::kDeviceSerialNumber), Optional(12));
  EXPECT_THAT(Length(image, Id::kPowerBudgeting), Optional(16));
  EXPECT_THAT(Length(image, Id::kAlternativeRoutingId), Optional(8));
  EXPECT_THAT(Length(image, Id::kAddressTranslationServices), Optional(8));
  EXPECT_THAT(Length(image, Id::kSingleRootIov), Optional(64));
  EXPECT_THAT(Length(image, Id::kMulticast), Optional(40));
  EXPECT_THAT(Length(image, Id::kPageRequest), Optional(16));
  EXPECT_THAT(Length(image, Id::kLatencyToleranceReporting), Optional(8));
  EXPECT_THAT(Length(image, Id::kProcessAddressSpaceId), Optional(8));
  EXPECT_THAT(Length(image, Id::kPrecisionTimeMeasurement), Optional(12));
  EXPECT_THAT(Length(image, Id::kNull), Optional(4));
}

TEST(ExtendedCapabilityLengthTest, ByVersion) {
  const ConfigImage image(4096);
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(image, Id::kL1PmSubstates, 1), Optional(0x10));
  EXPECT_THAT(Length(image, Id::kL1PmSubstates, 2), Optional(0x14));
  EXPECT_THAT(Length(image, Id::kRootComplexEventCollector, 1), Optional(8));
  EXPECT_THAT(Length(image, Id::kRootComplexEventCollector, 2), Optional(12));
}

TEST(ExtendedCapabilityLengthTest, VendorSpecificIsDeclared) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(4, 0x02411234), Id::kVendorSpecific),
              Optional(0x24));
  EXPECT_EQ(Length(Extended(4, 0x00711234), Id::kVendorSpecific), std::nullopt);
  EXPECT_THAT(Length(Extended(4, 0x03c01e98), Id::kDesignatedVendorSpecific),
              Optional(0x3c));
  EXPECT_EQ(Length(Extended(4, 0x00901e98), Id::kDesignatedVendorSpecific),
            std::nullopt);
}

TEST(ExtendedCapabilityLengthTest, VirtualChannelByChannelsAndPhases) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(4, 0), Id::kVirtualChannel), Optional(0x1c));
  EXPECT_THAT(Length(Extended(4, 7), Id::kVirtualChannel), Optional(0x70));
  // Two channels end at 0x28, and the table of 32 phases starts at 0x30.
  ConfigImage image = Extended(4, 1);
  image.Set32(kExtendedOffset + 8, 0x2);
  EXPECT_THAT(Length(image, Id::kVirtualChannel), Optional(0x40));
  image.Set32(kExtendedOffset + 8, 0x4);
  EXPECT_THAT(Length(image, Id::kVirtualChannelWithMfvc), Optional(0x50));
  image.Set32(kExtendedOffset + 8, 0x8);
  EXPECT_THAT(Length(image, Id::kMultiFunctionVirtualChannel), Optional(0x70));
}

TEST(ExtendedCapabilityLengthTest, AccessControlByItsEgressVector) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(4, 0x005f), Id::kAccessControlServices),
              Optional(8));
  EXPECT_THAT(Length(Extended(4, 0x0120), Id::kAccessControlServices),
              Optional(12));
  EXPECT_THAT(Length(Extended(4, 0x2020), Id::kAccessControlServices),
              Optional(12));
  EXPECT_THAT(Length(Extended(4, 0x2120), Id::kAccessControlServices),
              Optional(16));
  EXPECT_THAT(Length(Extended(4, 0x0020), Id::kAccessControlServices),
              Optional(8 + 32));
}

TEST(ExtendedCapabilityLengthTest, ResizableBarByItsCount) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(8, 1 << 5), Id::kResizableBar), Optional(12));
  EXPECT_THAT(Length(Extended(8, 6 << 5), Id::kResizableBar), Optional(52));
  EXPECT_THAT(Length(Extended(8, 2 << 5), Id::kVfResizableBar), Optional(20));
}

TEST(ExtendedCapabilityLengthTest, DynamicPowerByItsSubstates) {
  EXPECT_THAT(
      Length(Extended(4, 0x1f), ExtendedCapabilityId::kDynamicPowerAllocation),
      Optional(16 + 32));
}

TEST(ExtendedCapabilityLengthTest, TphByTheLocationOfItsTable) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(4, 0x003f0000), Id::kTphRequester), Optional(12));
  EXPECT_THAT(Length(Extended(4, 0x003f0200), Id::kTphRequester),
              Optional(12 + 128));
  EXPECT_THAT(Length(Extended(4, 0x003f0400), Id::kTphRequester), Optional(12));
}

TEST(ExtendedCapabilityLengthTest, DownstreamContainmentByItsLog) {
  using Id = ExtendedCapabilityId;
  EXPECT_THAT(Length(Extended(4, 0x0500), Id::kDownstreamPortContainment),
              Optional(12));
  EXPECT_THAT(Length(Extended(4, 0x0520), Id::kDownstreamPortContainment),
              Optional(0x20 + 20));
}

TEST(ExtendedCapabilityLengthTest, LinkDeclarationByItsEntries) {
  EXPECT_THAT(Length(Extended(4, 0x00000300),
                     ExtendedCapabilityId::kRootComplexLinkDeclaration),
              Optional(0x40));
}

TEST(ExtendedCapabilityLengthTest, NotDetermined) {
  const ConfigImage image(4096);
  EXPECT_EQ(Length(image, ExtendedCapabilityId::kSecondaryPciExpress),
            std::nullopt);
  EXPECT_EQ(Length(image, static_cast<ExtendedCapabilityId>(0x1234)),
            std::nullopt);
}

TEST(ExtendedCapabilityLengthTest, NothingWhereTheSizeIsBeyondTheImage) {
  const ConfigImage image(4096);
  using Id = ExtendedCapabilityId;
  for (const Id id :
       {Id::kVirtualChannel, Id::kVendorSpecific, Id::kDesignatedVendorSpecific,
        Id::kAccessControlServices, Id::kResizableBar,
        Id::kDynamicPowerAllocation, Id::kTphRequester,
        Id::kDownstreamPortContainment, Id::kRootComplexLinkDeclaration}) {
    EXPECT_EQ(ExtendedCapabilityLength(
                  image.bytes(), {.id = id, .version = 1, .offset = 0xffc}),
              std::nullopt)
        << Name(id);
  }
}

TEST(CapabilityLengthPropertyTest, AnyBytesAnyIdAnyOffset) {
  std::mt19937 random(20240614);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> bytes(random() % 4097);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    for (unsigned id = 0; id < 0x40; ++id) {
      // The sanitizers check the accesses. Every length holds at least a
      // header.
      const auto standard = StandardCapabilityLength(
          bytes, {.id = static_cast<CapabilityId>(id),
                  .offset = static_cast<uint8_t>(random())});
      ASSERT_GE(standard.value_or(2), 2);
      const auto extended = ExtendedCapabilityLength(
          bytes, {.id = static_cast<ExtendedCapabilityId>(id),
                  .version = static_cast<uint8_t>(random() % 16),
                  .offset = static_cast<uint16_t>(random() % 0x1000)});
      ASSERT_GE(extended.value_or(4), 4);
    }
  }
}

}  // namespace
}  // namespace passthru::pci
