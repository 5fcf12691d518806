// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Sizes = std::vector<uint64_t>;

TEST(DescribeDeviceTest, Nvme) {
  EXPECT_THAT(
      DescribeDevice(CapturedNvme().bytes(), Sizes{0x4000, 0, 0, 0, 0, 0, 0}),
      ElementsAre("1b36:0010 rev 02  NVMe controller [010802]  subsystem "
                  "1af4:1100",
                  "BAR0: 64-bit memory, 16 KiB at 0xfe600000",
                  "40: MSI-X  Enable- Count=65 Masked-  Table BAR0+0x2000  "
                  "PBA BAR0+0x3000",
                  "80: PCI Express  v2 Endpoint  FLR+ MaxPayload=128/128  "
                  "Link 2.5GT/s x1 of 2.5GT/s x1",
                  "60: Power Management  v3  D1- D2-  State=D0 NoSoftReset+"));
}

TEST(DescribeDeviceTest, ExtendedCapabilitiesFollowTheOthers) {
  const std::vector<std::string> lines = DescribeDevice(
      CapturedE1000e().bytes(), Sizes{0x20000, 0x20000, 0x20, 0x4000, 0, 0, 0});
  ASSERT_THAT(lines, SizeIs(11));
  EXPECT_THAT(lines[0], StartsWith("8086:10d3 rev 00  Ethernet controller"));
  EXPECT_EQ(lines[3], "BAR2: I/O, 32 bytes at 0x0000d000");
  EXPECT_THAT(lines[8], StartsWith("a0: MSI-X"));
  EXPECT_EQ(lines[9], "100: Advanced Error Reporting v2");
  EXPECT_THAT(lines[10], StartsWith("140: Device Serial Number"));
}

TEST(DescribeDeviceTest, WithoutSizesTellsWhatTheRegistersHold) {
  const std::vector<std::string> lines =
      DescribeDevice(CapturedVirtioNet().bytes());
  EXPECT_EQ(lines[1], "BAR1: 32-bit memory at 0xfe200000");
  EXPECT_EQ(lines[2], "BAR4: 64-bit memory at 0xfc400000");
  EXPECT_THAT(lines[3], StartsWith("dc:"));
}

TEST(DescribeDeviceTest, UpperHalfOfABarIsPartOfItsAddress) {
  ConfigImage image;
  image.Set32(0x18, 0x0000000c).Set32(0x1c, 0x00000038);
  EXPECT_THAT(DescribeDevice(image.bytes()),
              Contains("BAR2: 64-bit memory at 0x3800000000"));
  EXPECT_THAT(DescribeDevice(image.bytes()), Not(Contains(StartsWith("BAR3"))));
}

TEST(DescribeDeviceTest, SizesThatDoNotFitTheRegistersAreSaid) {
  EXPECT_THAT(
      DescribeDevice(CapturedNvme().bytes(), Sizes{0x3000, 0, 0, 0, 0, 0, 0}),
      Contains(StartsWith("BARs malformed: BAR0: size 0x3000")));
}

TEST(DescribeDeviceTest, BridgeHasNoSubsystemThere) {
  ConfigImage image;
  image.Set8(0x0e, 0x01).Set8(0x0b, 0x06).Set8(0x0a, 0x04);
  EXPECT_THAT(DescribeDevice(image.bytes()),
              ElementsAre("0000:0000 rev 00  PCI bridge [060400]"));
}

TEST(DescribeDeviceTest, BrokenListsAreSaid) {
  ConfigImage image(4096);
  image.AddCapability(0x40, 0x03).Set8(0x41, 0x40);
  image.Set32(0x100, 0x10010001);
  EXPECT_THAT(
      DescribeDevice(image.bytes()),
      ElementsAre(
          StartsWith("0000:0000"), "40: Vital Product Data",
          "capability list malformed: the pointer at 0x41 leads back to 0x40: "
          "a cycle",
          "100: Advanced Error Reporting v1",
          "extended capability list malformed: the header at 0x100 leads back "
          "to 0x100: a cycle"));
}

TEST(DescribeDeviceTest, NothingAtAll) {
  EXPECT_THAT(DescribeDevice({}),
              ElementsAre(StartsWith("ffff:ffff"),
                          HasSubstr("less than a configuration header")));
}

TEST(DescribeDevicePropertyTest, AnyBytesGiveLines) {
  std::mt19937 random(20240615);
  for (int round = 0; round < 1000; ++round) {
    std::vector<uint8_t> bytes(random() % 4097);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (bytes.size() > 0x0e) {
      bytes[0x06] |= 0x10;
      bytes[0x0e] &= 0x80;
    }
    Sizes sizes(random() % 2 == 0 ? 0 : 7);
    for (uint64_t& size : sizes) size = uint64_t{1} << (random() % 64);
    // Each string is one line. The sanitizers check the rest.
    ASSERT_THAT(DescribeDevice(bytes, sizes), Each(Not(HasSubstr("\n"))));
  }
}

}  // namespace
}  // namespace passthru::pci
