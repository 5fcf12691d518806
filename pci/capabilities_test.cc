// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capabilities.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Returns the offsets of the entries.
template <typename List>
std::vector<unsigned> Offsets(const List& list) {
  std::vector<unsigned> offsets;
  for (const auto& entry : list.entries) offsets.push_back(entry.offset);
  return offsets;
}

uint32_t ExtendedHeader(uint16_t id, unsigned version, unsigned next) {
  return id | version << 16 | next << 20;
}

TEST(WalkCapabilitiesTest, FollowsACapturedList) {
  const ConfigImage image = CapturedNvme();
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(
      list.entries,
      ElementsAre(
          Capability{.id = CapabilityId::kMsix, .offset = 0x40, .next = 0x80},
          Capability{
              .id = CapabilityId::kPciExpress, .offset = 0x80, .next = 0x60},
          Capability{.id = CapabilityId::kPowerManagement,
                     .offset = 0x60,
                     .next = 0}));
}

TEST(WalkCapabilitiesTest, SameIdMayOccurSeveralTimes) {
  const CapabilityList list = WalkCapabilities(CapturedVirtioNet().bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list),
              ElementsAre(0xdc, 0xc8, 0xb4, 0xa4, 0x94, 0x84, 0x7c, 0x40));
  ASSERT_NE(list.Find(CapabilityId::kVendorSpecific), nullptr);
  EXPECT_EQ(list.Find(CapabilityId::kVendorSpecific)->offset, 0xc8);
  EXPECT_EQ(list.Find(CapabilityId::kMsi), nullptr);
}

// PCI 3.0 6.7. The pointer means nothing unless Status says so.
TEST(WalkCapabilitiesTest, StatusBitOffMeansNoList) {
  ConfigImage image = CapturedNvme();
  image.Set16(0x06, 0x0000);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, IsEmpty());
}

TEST(WalkCapabilitiesTest, NullPointerIsAnEmptyList) {
  ConfigImage image;
  image.Set16(0x06, 0x0010);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, IsEmpty());
}

// PCI 3.0 6.7. Software masks the two reserved bits.
TEST(WalkCapabilitiesTest, LowBitsOfPointersAreMasked) {
  ConfigImage image;
  image.AddCapability(0x40, 0x01).AddCapability(0x50, 0x05, 0x40);
  image.Set8(0x34, 0x43).Set8(0x41, 0x52).Set8(0x51, 0x03);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list), ElementsAre(0x40, 0x50));
  EXPECT_EQ(list.entries[0].next, 0x50);
  EXPECT_EQ(list.entries[1].next, 0);
}

TEST(WalkCapabilitiesTest, LastPlaceIsPartOfTheSpace) {
  ConfigImage image;
  image.AddCapability(0xfc, 0x09);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list), ElementsAre(0xfc));
}

TEST(WalkCapabilitiesTest, CardbusBridgeHasItsPointerElsewhere) {
  ConfigImage image;
  image.AddCapability(0x80, 0x01)
      .Set8(0x34, 0)
      .Set8(0x0e, 0x02)
      .Set8(0x14, 0x80);
  EXPECT_THAT(Offsets(WalkCapabilities(image.bytes())), ElementsAre(0x80));
}

TEST(WalkCapabilitiesTest, CycleEndsTheWalkAndIsTold) {
  ConfigImage image;
  image.AddCapability(0x40, 0x01).AddCapability(0x50, 0x05, 0x40);
  image.Set8(0x51, 0x40);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x40, 0x50));
  EXPECT_THAT(list.malformed, HasSubstr("0x51"));
  EXPECT_THAT(list.malformed, HasSubstr("back to 0x40"));
}

TEST(WalkCapabilitiesTest, SelfLoopIsTold) {
  ConfigImage image;
  image.AddCapability(0x40, 0x01).Set8(0x41, 0x40);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x40));
  EXPECT_THAT(list.malformed, HasSubstr("cycle"));
}

TEST(WalkCapabilitiesTest, PointerIntoTheHeaderIsTold) {
  ConfigImage image;
  image.AddCapability(0x40, 0x01).Set8(0x41, 0x3c);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x40));
  EXPECT_THAT(list.malformed, HasSubstr("0x3c, into the header"));
}

TEST(WalkCapabilitiesTest, CapabilityOfAllOnesIsTold) {
  ConfigImage image;
  image.AddCapability(0x40, 0x01).AddCapability(0x60, 0xff, 0x40);
  const CapabilityList list = WalkCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x40));
  EXPECT_THAT(list.malformed, HasSubstr("0x60 reads as all ones"));
}

TEST(WalkCapabilitiesTest, AbsentFunctionIsToldNotWalked) {
  const std::vector<uint8_t> nobody(256, 0xff);
  const CapabilityList list = WalkCapabilities(nobody);
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, HasSubstr("all ones"));
}

TEST(WalkCapabilitiesTest, ShortImageIsTold) {
  ConfigImage image;
  image.AddCapability(0x80, 0x01);
  EXPECT_THAT(WalkCapabilities(image.bytes().first(0x3f)).malformed,
              HasSubstr("63 bytes"));
  EXPECT_THAT(WalkCapabilities(image.bytes().first(0x81)).malformed,
              HasSubstr("beyond the image's 129 bytes"));
  EXPECT_THAT(WalkCapabilities(image.bytes().first(0x82)).malformed, IsEmpty());
  EXPECT_THAT(WalkCapabilities({}).malformed, HasSubstr("0 bytes"));
}

TEST(WalkExtendedCapabilitiesTest, FollowsACapturedList) {
  const ConfigImage image = CapturedE1000e();
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(
      list.entries,
      ElementsAre(
          ExtendedCapability{
              .id = ExtendedCapabilityId::kAdvancedErrorReporting,
              .version = 2,
              .offset = 0x100,
              .next = 0x140},
          ExtendedCapability{.id = ExtendedCapabilityId::kDeviceSerialNumber,
                             .version = 1,
                             .offset = 0x140,
                             .next = 0}));
}

TEST(WalkExtendedCapabilitiesTest, ConventionalSpaceHasNone) {
  const ExtendedCapabilityList list =
      WalkExtendedCapabilities(CapturedAhci().bytes());
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, IsEmpty());
}

// PCIe 6.0 7.6.2.
TEST(WalkExtendedCapabilitiesTest, AllZeroFirstHeaderMeansNone) {
  const ExtendedCapabilityList list =
      WalkExtendedCapabilities(CapturedNvme().bytes());
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, IsEmpty());
}

TEST(WalkExtendedCapabilitiesTest, AllOnesFirstHeaderMeansNone) {
  ConfigImage image(4096);
  image.Set32(0x100, 0xffffffff);
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(list.entries, IsEmpty());
  EXPECT_THAT(list.malformed, IsEmpty());
}

// Linux's vfio-pci hides a first capability in this way and keeps its pointer.
TEST(WalkExtendedCapabilitiesTest, NullCapabilityLeadsOn) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0, 0, 0x200));
  image.Set32(0x200, ExtendedHeader(0x0003, 1, 0));
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100, 0x200));
}

TEST(WalkExtendedCapabilitiesTest, LowBitsOfPointersAreMasked) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0x203));
  image.Set32(0x200, ExtendedHeader(0x0003, 1, 0x003));
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100, 0x200));
}

TEST(WalkExtendedCapabilitiesTest, LastPlaceIsPartOfTheSpace) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0xffc));
  image.Set32(0xffc, ExtendedHeader(0x0003, 1, 0));
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(list.malformed, IsEmpty());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100, 0xffc));
}

TEST(WalkExtendedCapabilitiesTest, CycleEndsTheWalkAndIsTold) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0x200));
  image.Set32(0x200, ExtendedHeader(0x0003, 1, 0x100));
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100, 0x200));
  EXPECT_THAT(list.malformed, HasSubstr("0x200 leads back to 0x100"));
}

TEST(WalkExtendedCapabilitiesTest, PointerBelowTheExtendedSpaceIsTold) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0x0fc));
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100));
  EXPECT_THAT(list.malformed, HasSubstr("0x0fc, below the extended space"));
}

TEST(WalkExtendedCapabilitiesTest, LaterHeaderOfAllOnesIsTold) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0x200));
  image.Set32(0x200, 0xffffffff);
  const ExtendedCapabilityList list = WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(Offsets(list), ElementsAre(0x100));
  EXPECT_THAT(list.malformed, HasSubstr("0x200 reads as all ones"));
}

TEST(WalkExtendedCapabilitiesTest, ShortImageIsTold) {
  ConfigImage image(4096);
  image.Set32(0x100, ExtendedHeader(0x0001, 2, 0x200));
  const auto walk = [&](size_t size) {
    return WalkExtendedCapabilities(image.bytes().first(size)).malformed;
  };
  EXPECT_THAT(walk(0x203), HasSubstr("beyond the image's 515 bytes"));
  EXPECT_THAT(walk(0x204), IsEmpty());
  EXPECT_THAT(walk(0x103), IsEmpty());
}

// Checks what must hold whatever a device answers. The walk ends and reads
// nothing outside the image, which the sanitizers check. Every entry is
// aligned, in its range and occurs once, and each leads to the next.
template <typename List>
void ExpectSane(const List& list, unsigned first, unsigned end) {
  std::set<unsigned> seen;
  for (size_t i = 0; i < list.entries.size(); ++i) {
    const auto& entry = list.entries[i];
    ASSERT_GE(entry.offset, first);
    ASSERT_LT(entry.offset, end);
    ASSERT_EQ(entry.offset % 4, 0);
    ASSERT_TRUE(seen.insert(entry.offset).second);
    if (i + 1 < list.entries.size()) {
      ASSERT_EQ(entry.next, list.entries[i + 1].offset);
    } else {
      // This is the end of the list or the broken place.
      ASSERT_EQ(entry.next == 0, list.malformed.empty());
    }
  }
}

TEST(WalkPropertyTest, EndsOnAnyBytes) {
  std::mt19937 random(20240609);
  for (int round = 0; round < 5000; ++round) {
    std::vector<uint8_t> bytes(random() % 2 == 0 ? 256 : random() % 4097);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (bytes.size() > 0x07) bytes[0x06] |= 0x10;
    const CapabilityList standard = WalkCapabilities(bytes);
    const ExtendedCapabilityList extended = WalkExtendedCapabilities(bytes);
    // The walk drops an entry of all ones, although a pointer leads to it. A
    // list without entries may be broken from the start.
    ASSERT_NO_FATAL_FAILURE(ExpectSane(standard, 0x40, 0x100));
    ASSERT_NO_FATAL_FAILURE(ExpectSane(extended, 0x100, 0x1000));
  }
}

// Random bytes rarely make long lists, but a random graph of pointers does.
TEST(WalkPropertyTest, EndsOnAnyGraph) {
  std::mt19937 random(20240610);
  size_t longest = 0;
  for (int round = 0; round < 2000; ++round) {
    ConfigImage image(4096);
    image.Set16(0x06, 0x0010).Set8(0x34, static_cast<uint8_t>(random() | 0x40));
    for (unsigned at = 0x40; at < 0x100; at += 4) {
      image.Set8(at, static_cast<uint8_t>(random() % 0x16));
      image.Set8(at + 1, static_cast<uint8_t>(random() % 192 + 0x40));
    }
    for (unsigned at = 0x100; at < 0x1000; at += 4) {
      image.Set32(at, ExtendedHeader(static_cast<uint16_t>(random() % 0x35), 1,
                                     random() % 0xf00 + 0x100));
    }
    const CapabilityList standard = WalkCapabilities(image.bytes());
    const ExtendedCapabilityList extended =
        WalkExtendedCapabilities(image.bytes());
    ASSERT_NO_FATAL_FAILURE(ExpectSane(standard, 0x40, 0x100));
    ASSERT_NO_FATAL_FAILURE(ExpectSane(extended, 0x100, 0x1000));
    // Every pointer leads on, so each list must have run into itself.
    ASSERT_THAT(standard.malformed, HasSubstr("cycle"));
    ASSERT_THAT(extended.malformed, HasSubstr("cycle"));
    longest = std::max(longest, extended.entries.size());
  }
  EXPECT_GT(longest, 48u);
}

TEST(WalkPropertyTest, LongestPossibleListIsWalkedWhole) {
  ConfigImage image(4096);
  image.Set16(0x06, 0x0010).Set8(0x34, 0x40);
  for (unsigned at = 0x40; at < 0x100; at += 4) {
    image.Set8(at, 0x09).Set8(at + 1, static_cast<uint8_t>(at + 4));
  }
  for (unsigned at = 0x100; at < 0x1000; at += 4) {
    image.Set32(at, ExtendedHeader(0x000b, 1, (at + 4) % 0x1000));
  }
  const CapabilityList standard = WalkCapabilities(image.bytes());
  EXPECT_THAT(standard.malformed, IsEmpty());
  EXPECT_EQ(standard.entries.size(), 48u);
  const ExtendedCapabilityList extended =
      WalkExtendedCapabilities(image.bytes());
  EXPECT_THAT(extended.malformed, IsEmpty());
  EXPECT_EQ(extended.entries.size(), 960u);
}

}  // namespace
}  // namespace passthru::pci
