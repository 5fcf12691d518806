// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_fixture.h"

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/capture/lspci_text.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Returns rows of zeros from `first` to before `end`.
std::string Zeros(unsigned first, unsigned end) {
  std::string rows;
  for (unsigned at = first; at < end; at += 16) {
    absl::StrAppendFormat(&rows, "%02x:", at);
    for (int i = 0; i < 16; ++i) rows += " 00";
    rows += "\n";
  }
  return rows;
}

// The output of pciutils 3.9 for a network card in use, with -xxx -vv -nn.
std::string Ethernet() {
  return absl::StrCat(
      R"(01:00.0 Ethernet controller [0200]: Intel Corporation I210 Gigabit Network Connection [8086:1533] (rev 03)
	Subsystem: Super Micro Computer Inc Device [15d9:1533]
	Control: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
	Status: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
	Latency: 0, Cache Line Size: 64 bytes
	Interrupt: pin A routed to IRQ 16
	IOMMU group: 14
	Region 0: Memory at f7200000 (32-bit, non-prefetchable) [size=512K]
	Region 2: I/O ports at e000 [size=32]
	Region 3: Memory at f7280000 (32-bit, non-prefetchable) [size=16K]
	Capabilities: [50] MSI: Enable- Count=1/1 Maskable+ 64bit+
	Capabilities: [70] MSI-X: Enable+ Count=5 Masked-
		Vector table: BAR=3 offset=00000000
		PBA: BAR=3 offset=00002000
	Kernel driver in use: igb
	Kernel modules: igb
00: 86 80 33 15 07 04 10 00 03 00 00 02 10 00 00 00
10: 00 00 20 f7 00 00 00 00 01 e0 00 00 00 00 28 f7
20: 00 00 00 00 00 00 00 00 00 00 00 00 d9 15 33 15
30: 00 00 00 00 50 00 00 00 00 00 00 00 0b 01 00 00
40: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
50: 05 70 80 01 00 00 00 00 00 00 00 00 00 00 00 00
60: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
70: 11 00 04 80 03 00 00 00 03 20 00 00 00 00 00 00
)",
      Zeros(0x80, 0x100));
}

// The output of pciutils 2.2 with -x.
constexpr std::string_view kOld =
    "02:08.0 Multimedia audio controller: Creative Labs SB Live! EMU10k1 (rev "
    "07)\n"
    "00: 02 11 02 00 05 00 90 02 07 00 01 04 00 20 80 00\n"
    "10: 01 c0 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
    "20: 00 00 00 00 00 00 00 00 00 00 00 00 02 11 64 80\n"
    "30: 00 00 00 00 dc 00 00 00 00 00 00 00 05 01 02 14\n";

const fixture::Region* RegionNumbered(const fixture::PciDevice& device,
                                      uint32_t index) {
  for (const fixture::Region& region : device.regions()) {
    if (region.index() == index) return &region;
  }
  return nullptr;
}

TEST(LspciTest, NetworkCard) {
  const auto capture = FixtureFromLspci(Ethernet(), {});
  ASSERT_THAT(capture, IsOk());
  const fixture::PciDevice& device = capture->device;
  EXPECT_EQ(device.name(), "8086-1533");
  EXPECT_EQ(device.bdf(), "0000:01:00.0");
  EXPECT_EQ(device.iommu_group().number(), 14u);
  EXPECT_EQ(device.config_space_size(), 256u);
  EXPECT_EQ(device.identity().subsystem_vendor_id(), 0x15d9u);
  ASSERT_EQ(device.regions_size(), 3);
  EXPECT_EQ(device.regions(0).size(), 512u * 1024);
  EXPECT_EQ(device.regions(0).flags(), 0x7u);
  EXPECT_EQ(device.regions(1).size(), 32u);
  EXPECT_EQ(device.regions(1).flags(), 0x3u);
  EXPECT_TRUE(device.regions(2).capabilities(0).has_msix_mappable());
  EXPECT_EQ(device.irqs(2).count(), 5u);
  EXPECT_THAT(device.reset().methods(), IsEmpty());
}

TEST(LspciTest, WhatTheDriverHadSetIsUndone) {
  const auto capture = FixtureFromLspci(Ethernet(), {});
  ASSERT_THAT(capture, IsOk());
  const std::vector<uint8_t> config =
      fixture::ExpandConfig(capture->device).bytes;
  EXPECT_EQ(fixture::ReadLe16(config, 0x04), 0x0003);
  EXPECT_EQ(fixture::ReadLe16(config, 0x72), 0x0004);
  EXPECT_THAT(capture->notes, Contains(HasSubstr("The driver igb was using")));
}

TEST(LspciTest, HeaderOnlyAndNoSizes) {
  const auto capture = FixtureFromLspci(kOld, {.name = "emu10k1"});
  ASSERT_THAT(capture, IsOk());
  const fixture::PciDevice& device = capture->device;
  EXPECT_EQ(device.name(), "emu10k1");
  EXPECT_EQ(device.config_space_size(), 256u);
  ASSERT_EQ(device.regions_size(), 1);
  EXPECT_EQ(device.regions(0).size(), 4u);
  EXPECT_THAT(capture->notes, AllOf(Contains(HasSubstr("only the header")),
                                    Contains(HasSubstr("size of BAR 0"))));
}

TEST(LspciTest, AssumedSizeHoldsTheMsixStructures) {
  const std::string text =
      absl::StrReplaceAll(Ethernet(), {{"[size=16K]", ""}});
  const auto capture = FixtureFromLspci(text, {});
  ASSERT_THAT(capture, IsOk());
  EXPECT_EQ(RegionNumbered(capture->device, 3)->size(), 0x4000u);
}

TEST(LspciTest, NothingMeasuredIsUnknown) {
  const auto capture = FixtureFromLspci(Ethernet(), {});
  ASSERT_THAT(capture, IsOk());
  const fixture::ConfigImage image = fixture::ExpandConfig(capture->device);
  EXPECT_EQ(image.unknown[0x00], 0x00);
  EXPECT_EQ(image.unknown[0x04], 0xff);
  EXPECT_EQ(image.unknown[0x40], 0xff);
}

// Mailers and forums change a text in these ways.
TEST(LspciTest, QuotedIndentedAndWithWindowsLineEnds) {
  const auto expected = FixtureFromLspci(Ethernet(), {});
  ASSERT_THAT(expected, IsOk());
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"\n", "\r\n"},     {"\n", "\n> "}, {"\n", "\n> > "},
      {"\t", "        "}, {"\n", " \n"},  {"\n", "\n\n"}};
  for (const auto& [from, to] : changes) {
    const std::string text =
        absl::StrCat("> $ sudo lspci -xxx -vv -nn -s 01:00.0\n> ",
                     absl::StrReplaceAll(Ethernet(), {{from, to}}));
    const auto capture = FixtureFromLspci(text, {});
    ASSERT_THAT(capture, IsOk()) << to;
    EXPECT_EQ(capture->device.SerializeAsString(),
              expected->device.SerializeAsString());
  }
}

TEST(LspciTest, UnassignedBarAndRom) {
  const std::string text = absl::StrCat(
      "0000:03:00.0 Non-Volatile memory controller: Example (rev 01) (prog-if "
      "02 [NVM Express])\n"
      "\tRegion 0: Memory at <unassigned> (64-bit, non-prefetchable) "
      "[disabled] [size=16K]\n"
      "\tExpansion ROM at fe300000 [disabled] [size=512K]\n"
      "00: 4d 14 08 a8 00 00 10 00 01 02 08 01 00 00 00 00\n"
      "10: 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
      "20: 00 00 00 00 00 00 00 00 00 00 00 00 4d 14 01 a8\n"
      "30: 00 00 30 fe 40 00 00 00 00 00 00 00 ff 01 00 00\n",
      Zeros(0x40, 0x100));
  const auto capture = FixtureFromLspci(text, {});
  ASSERT_THAT(capture, IsOk());
  EXPECT_EQ(capture->device.regions(0).size(), 16u * 1024);
  EXPECT_EQ(capture->device.expansion_rom().bar_size(), 512u * 1024);
  EXPECT_THAT(capture->notes, Contains(HasSubstr("had no address")));
}

TEST(LspciTest, SerialNumberIsLeftOutUnlessWanted) {
  const std::string text = absl::StrCat(
      "01:00.0 Ethernet controller: Example\n"
      "\tRegion 0: Memory at f7200000 (32-bit, non-prefetchable) [size=4K]\n"
      "00: 86 80 33 15 03 00 10 00 03 00 00 02 10 00 00 00\n"
      "10: 00 00 20 f7 00 00 00 00 00 00 00 00 00 00 00 00\n"
      "20: 00 00 00 00 00 00 00 00 00 00 00 00 d9 15 33 15\n"
      "30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00\n"
      "40: 10 00 02 00 c0 8c 00 10 00 00 00 00 11 04 00 00\n",
      Zeros(0x50, 0x100),
      "100: 03 00 01 00 11 22 33 ff ff 44 55 66 00 00 00 00\n",
      Zeros(0x110, 0x1000));
  const auto redacted = FixtureFromLspci(text, {});
  ASSERT_THAT(redacted, IsOk());
  EXPECT_EQ(
      fixture::ReadLe32(fixture::ExpandConfig(redacted->device).bytes, 0x104),
      0u);
  ASSERT_EQ(redacted->device.redactions_size(), 1);
  EXPECT_EQ(redacted->device.redactions(0).offset(), 0x104u);
  EXPECT_THAT(redacted->device.reset().methods(),
              ElementsAre(fixture::Reset::FLR));
  const auto kept = FixtureFromLspci(text, {.include_identity = true});
  ASSERT_THAT(kept, IsOk());
  EXPECT_EQ(fixture::ReadLe32(fixture::ExpandConfig(kept->device).bytes, 0x104),
            0xff332211u);
  EXPECT_THAT(kept->device.redactions(), IsEmpty());
}

TEST(LspciTest, OneOfSeveralIsChosenByItsAddress) {
  const std::string text = absl::StrCat(Ethernet(), "\n", kOld);
  EXPECT_THAT(FixtureFromLspci(text, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("give the address of one: 0000:01:00.0, "
                                 "0000:02:08.0")));
  EXPECT_THAT(FixtureFromLspci(text, {.bdf = "0000:05:00.0"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there are: ")));
  const auto capture = FixtureFromLspci(text, {.bdf = "0000:02:08.0"});
  ASSERT_THAT(capture, IsOk());
  EXPECT_EQ(capture->device.identity().vendor_id(), 0x1102u);
}

TEST(LspciTest, VirtualFunctionHasItsIdsInTheHeading) {
  std::string text = absl::StrReplaceAll(
      Ethernet(), {{"00: 86 80 33 15", "00: ff ff ff ff"}, {"0b 01", "00 00"}});
  const auto capture = FixtureFromLspci(text, {});
  ASSERT_THAT(capture, IsOk());
  EXPECT_TRUE(capture->device.is_virtual_function());
  EXPECT_EQ(capture->device.identity().device_id(), 0x1533u);
  // The lines of the regions, and not the registers, tell its BARs.
  ASSERT_EQ(capture->device.host_resources_size(), 6);
  EXPECT_EQ(capture->device.host_resources(0).start(), 0xf7200000u);
  text = absl::StrReplaceAll(text, {{" [8086:1533]", ""}});
  EXPECT_THAT(FixtureFromLspci(text, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-nn")));
}

// As for an 82576, whose registers are 0 while lspci prints what Linux knows.
TEST(LspciTest, VirtualFunctionHasItsBarsInTheRegions) {
  const auto capture = FixtureFromLspci(
      "01:10.0 Ethernet controller [0200]: Intel [8086:10ca] (rev 01)\n"
      "\tRegion 0: [virtual] Memory at fea00000 (64-bit, prefetchable) "
      "[size=16K]\n"
      "\tRegion 3: [virtual] Memory at 7fea20000 (64-bit, non-prefetchable) "
      "[size=16K]\n"
      "00: ff ff ff ff 00 00 10 00 01 00 00 02 00 00 00 00\n"
      "10: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
      "20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11\n"
      "30: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
      {});
  ASSERT_THAT(capture, IsOk());
  const fixture::PciDevice& device = capture->device;
  ASSERT_EQ(device.regions_size(), 2);
  EXPECT_EQ(RegionNumbered(device, 0)->size(), 0x4000u);
  const fixture::BarRegisters bars =
      fixture::AssignedBars(device, fixture::ExpandConfig(device).bytes);
  EXPECT_THAT(bars, ElementsAre(0xfea0000cu, 0u, 0u, 0xfea20004u, 0x7u, 0u));
}

struct Bad {
  const char* name;
  const char* from;
  const char* to;
  const char* message;
};

class MalformedTest : public ::testing::TestWithParam<Bad> {};

TEST_P(MalformedTest, SaysWhereAndWhatToDo) {
  const std::string text =
      absl::StrReplaceAll(Ethernet(), {{GetParam().from, GetParam().to}});
  EXPECT_THAT(FixtureFromLspci(text, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedTest,
    ::testing::Values(
        Bad{"NoByte", "f7 00 00 00 00 01", "f7 0g 00 00 00 01",
            "line 18: \"0g\" is not a byte"},
        Bad{"ShortRow", "20: 00 ", "20: ", "line 19: a row of 15 bytes"},
        Bad{"MissingRow", "\n30: 00", "\nsnip: 00",
            "line 21: the row at 0x40 where the one at 0x30 should be"},
        Bad{"CutOff", "\nf0: 00", "\nsnip: 00", "ends after 0xf0 bytes"},
        Bad{"Size", "[size=16K]", "[size=lots]", "line 10: \"[size=lots"},
        Bad{"Group", "IOMMU group: 14", "IOMMU group: x",
            "line 7: the IOMMU group is not a number"},
        Bad{"NoHeading", "01:00.0 Eth", "Eth",
            "line 17: a row of bytes without a device above it"},
        Bad{"Bridge", "02 10 00 00 00\n", "02 10 00 01 00\n",
            "so it is a bridge"},
        Bad{"Contradiction", "[size=512K]", "[size=4M]",
            "does not divide the address"}),
    [](const auto& suite) { return std::string(suite.param.name); });

TEST(LspciTest, NoDumpAtAll) {
  EXPECT_THAT(FixtureFromLspci("01:00.0 Ethernet controller: Intel\n", {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("run `lspci -xxxx -vv` as root")));
  EXPECT_THAT(FixtureFromLspci("Hello.\n", {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("not what lspci prints")));
  EXPECT_THAT(FixtureFromLspci("", {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(LspciTest, AllOnes) {
  std::string text = "01:00.0 Ethernet controller: gone\n";
  for (unsigned at = 0; at < 0x100; at += 16) {
    absl::StrAppendFormat(&text, "%02x:", at);
    for (int i = 0; i < 16; ++i) text += " ff";
    text += "\n";
  }
  EXPECT_THAT(FixtureFromLspci(text, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("powered down or gone")));
}

// sysfs reads the extended space of a device that fell off the bus as zeros.
TEST(LspciTest, AllOnesWithZerosBehind) {
  std::string text = "01:00.0 VGA compatible controller: gone (rev ff)\n";
  for (unsigned at = 0; at < 0x100; at += 16) {
    absl::StrAppendFormat(&text, "%02x:", at);
    for (int i = 0; i < 16; ++i) text += " ff";
    text += "\n";
  }
  text += Zeros(0x100, 0x1000);
  EXPECT_THAT(FixtureFromLspci(text, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("does not answer")));
}

// The parser ends for any input, and every fixture that it returns is valid.
TEST(LspciTest, AnyBytesEndWell) {
  std::mt19937 random(1);
  const std::string sources[] = {Ethernet(), std::string(kOld)};
  constexpr std::string_view kPieces[] = {"ff",
                                          "00:",
                                          "Region 0: ",
                                          "[size=",
                                          "]",
                                          "\n",
                                          "9999",
                                          "K",
                                          "[8086:1533]",
                                          "<unassigned>",
                                          std::string_view("\0", 1),
                                          "01:00.0 x\n",
                                          "\xff"};
  for (int round = 0; round < 2000; ++round) {
    std::string text = sources[round % 2];
    for (unsigned i = 0; i <= random() % 4; ++i) {
      const size_t at = random() % (text.size() + 1);
      const std::string_view piece = kPieces[random() % std::size(kPieces)];
      switch (random() % 3) {
        case 0:
          text.insert(at, piece);
          break;
        case 1:
          text.replace(at, piece.size(), piece);
          break;
        default:
          text.erase(at, random() % 64);
          break;
      }
    }
    const auto capture = FixtureFromLspci(text, {});
    if (!capture.ok()) {
      EXPECT_NE(capture.status().message(), "");
    }
  }
}

}  // namespace
}  // namespace passthru::capture
