// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe_extended_capability.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

constexpr uint16_t kDescribedExtendedOffset = 0x150;

std::string DescribeExtended(const ConfigImage& image, uint16_t id,
                             uint16_t offset = kDescribedExtendedOffset) {
  return DescribeExtendedCapability(
      image.bytes(), {.id = static_cast<ExtendedCapabilityId>(id),
                      .version = 1,
                      .offset = offset});
}

ConfigImage ExtendedImage(unsigned offset, uint32_t value) {
  ConfigImage image(4096);
  image.Set32(kDescribedExtendedOffset + offset, value);
  return image;
}

TEST(DescribeExtendedCapabilityTest, DeviceSerialNumber) {
  EXPECT_EQ(DescribeExtended(CapturedE1000e(), 0x0003, 0x140),
            "140: Device Serial Number v1  52-54-00-ff-ff-12-34-56");
}

TEST(DescribeExtendedCapabilityTest, SingleRootIov) {
  ConfigImage image = ExtendedImage(0x08, 0x00000001);
  image.Set16(kDescribedExtendedOffset + 0x0e, 64)
      .Set16(kDescribedExtendedOffset + 0x10, 8);
  image.Set16(kDescribedExtendedOffset + 0x14, 0x80)
      .Set16(kDescribedExtendedOffset + 0x16, 2);
  EXPECT_EQ(DescribeExtended(image, 0x0010),
            "150: SR-IOV v1  Enable+ VFs=8/64  FirstVF+0x80 Stride=2");
}

TEST(DescribeExtendedCapabilityTest, AlternativeRouting) {
  EXPECT_EQ(DescribeExtended(ExtendedImage(4, 0x0100), 0x000e),
            "150: Alternative Routing-ID v1  NextFunction=1");
}

TEST(DescribeExtendedCapabilityTest, AddressTranslation) {
  EXPECT_EQ(DescribeExtended(CapturedVirtioNet(), 0x000f, 0x100),
            "100: Address Translation Services v1  Enable+ QueueDepth=32");
  EXPECT_EQ(DescribeExtended(ExtendedImage(4, 0x00000005), 0x000f),
            "150: Address Translation Services v1  Enable- QueueDepth=5");
}

TEST(DescribeExtendedCapabilityTest, ProcessAddressSpaceId) {
  EXPECT_EQ(DescribeExtended(ExtendedImage(4, 0x00011406), 0x001b),
            "150: PASID v1  Enable+ Width=20");
}

TEST(DescribeExtendedCapabilityTest, ResizableBars) {
  ConfigImage image = ExtendedImage(8, 0x00000840);
  image.Set32(kDescribedExtendedOffset + 16, 0x00000d02);
  EXPECT_EQ(DescribeExtended(image, 0x0015),
            "150: Resizable BAR v1  BAR0=256MiB BAR2=8192MiB");
}

TEST(DescribeExtendedCapabilityTest, VendorSpecific) {
  EXPECT_EQ(DescribeExtended(ExtendedImage(4, 0x02411234), 0x000b),
            "150: Vendor Specific v1  ID=1234 Rev=1 Length=36");
  EXPECT_EQ(DescribeExtended(ExtendedImage(4, 0), 0x000b),
            "150: Vendor Specific v1  malformed: no valid length");
  ConfigImage image = ExtendedImage(4, 0x03c01e98);
  image.Set16(kDescribedExtendedOffset + 8, 0x0008);
  EXPECT_EQ(DescribeExtended(image, 0x0023),
            "150: Designated Vendor Specific v1  Vendor=1e98 ID=0008 Rev=0 "
            "Length=60");
}

TEST(DescribeExtendedCapabilityTest, OthersByName) {
  EXPECT_EQ(DescribeExtended(ConfigImage(4096), 0x0001),
            "150: Advanced Error Reporting v1");
}

TEST(DescribeExtendedCapabilityTest, UnknownByNumber) {
  EXPECT_EQ(DescribeExtended(ConfigImage(4096), 0x7abc),
            "150: Unknown [7abc] v1");
}

}  // namespace
}  // namespace passthru::pci
