// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe_capability.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

constexpr uint8_t kDescribedOffset = 0x50;

std::string DescribeStandard(const ConfigImage& image, uint8_t id,
                             uint8_t offset = kDescribedOffset) {
  return DescribeCapability(
      image.bytes(), {.id = static_cast<CapabilityId>(id), .offset = offset});
}

TEST(DescribeCapabilityTest, Msix) {
  EXPECT_EQ(DescribeStandard(CapturedNvme(), 0x11, 0x40),
            "40: MSI-X  Enable- Count=65 Masked-  Table BAR0+0x2000  PBA "
            "BAR0+0x3000");
}

TEST(DescribeCapabilityTest, MsixMasked) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x11)
      .Set16(kDescribedOffset + 2, 0x4004)
      .Set32(kDescribedOffset + 4, 0x00000003)
      .Set32(kDescribedOffset + 8, 0x00002004);
  EXPECT_EQ(
      DescribeStandard(image, 0x11),
      "50: MSI-X  Enable- Count=5 Masked+  Table BAR3+0x0  PBA BAR4+0x2000");
}

TEST(DescribeCapabilityTest, MsiWhileOff) {
  EXPECT_EQ(DescribeStandard(CapturedE1000e(), 0x05, 0xd0),
            "d0: MSI  Enable- Count=1/1 64bit+ Maskable-");
}

TEST(DescribeCapabilityTest, MsiWhileOnShowsItsMessage) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x05)
      .Set16(kDescribedOffset + 2, 0x0129)
      .Set32(kDescribedOffset + 4, 0xfee01000)
      .Set16(kDescribedOffset + 8, 0x4051);
  EXPECT_EQ(DescribeStandard(image, 0x05),
            "50: MSI  Enable+ Count=4/16 64bit- Maskable+  address 0xfee01000 "
            "data 0x4051");
}

TEST(DescribeCapabilityTest, PowerManagement) {
  EXPECT_EQ(DescribeStandard(CapturedNvme(), 0x01, 0x60),
            "60: Power Management  v3  D1- D2-  State=D0 NoSoftReset+");
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x01)
      .Set16(kDescribedOffset + 2, 0x0602)
      .Set16(kDescribedOffset + 4, 0x0003);
  EXPECT_EQ(DescribeStandard(image, 0x01),
            "50: Power Management  v2  D1+ D2+  State=D3hot NoSoftReset-");
}

TEST(DescribeCapabilityTest, PciExpress) {
  EXPECT_EQ(DescribeStandard(CapturedNvme(), 0x10, 0x80),
            "80: PCI Express  v2 Endpoint  FLR+ MaxPayload=128/128  Link "
            "2.5GT/s x1 of 2.5GT/s x1");
}

TEST(DescribeCapabilityTest, PciExpressWithoutLink) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x10)
      .Set16(kDescribedOffset + 2, 0x0092)
      .Set32(kDescribedOffset + 4, 0x00000002)
      .Set16(kDescribedOffset + 8, 0x0020);
  EXPECT_EQ(DescribeStandard(image, 0x10),
            "50: PCI Express  v2 Root Complex Integrated Endpoint  FLR- "
            "MaxPayload=256/512");
}

TEST(DescribeCapabilityTest, PciExpressLinkSlowerThanItCould) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x10)
      .Set16(kDescribedOffset + 2, 0x0002)
      .Set32(kDescribedOffset + 0x0c, 0x00000104)
      .Set16(kDescribedOffset + 0x12, 0x0043);
  EXPECT_EQ(DescribeStandard(image, 0x10),
            "50: PCI Express  v2 Endpoint  FLR- MaxPayload=128/128  Link 8GT/s "
            "x4 of 16GT/s x16");
}

TEST(DescribeCapabilityTest, AdvancedFeatures) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x13)
      .Set8(kDescribedOffset + 2, 6)
      .Set8(kDescribedOffset + 3, 3);
  EXPECT_EQ(DescribeStandard(image, 0x13), "50: Advanced Features  FLR+");
}

TEST(DescribeCapabilityTest, VendorSpecific) {
  EXPECT_EQ(DescribeStandard(CapturedVirtioNet(), 0x09, 0xc8),
            "c8: Vendor Specific  Length=20");
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x09);
  EXPECT_EQ(DescribeStandard(image, 0x09),
            "50: Vendor Specific  malformed: no valid length");
}

TEST(DescribeCapabilityTest, OthersByName) {
  EXPECT_EQ(DescribeStandard(ConfigImage(), 0x03), "50: Vital Product Data");
}

TEST(DescribeCapabilityTest, UnknownByNumber) {
  EXPECT_EQ(DescribeStandard(ConfigImage(), 0x7e), "50: Unknown [7e]");
}

TEST(DescribeCapabilityTest, MalformedIsSaidWithTheReason) {
  ConfigImage image;
  image.AddCapability(kDescribedOffset, 0x11).Set32(kDescribedOffset + 4, 6);
  EXPECT_EQ(DescribeStandard(image, 0x11),
            "50: MSI-X  malformed: MSI-X capability at 0x50: table BIR 6 names "
            "no BAR");
  for (const uint8_t id : {0x01, 0x05, 0x10, 0x13}) {
    ConfigImage last;
    last.AddCapability(0xfc, id);
    EXPECT_NE(DescribeStandard(last, id, 0xfc).find("malformed"),
              std::string::npos)
        << int{id};
  }
}

}  // namespace
}  // namespace passthru::pci
