// SPDX-License-Identifier: Apache-2.0
//
// Texts with layouts that real devices have and that a reader may not expect.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/capture/lspci_fixture.h"
#include "passthru/testing/capture/lspci_text.h"
#include "passthru/testing/capture/posted_text.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Returns the rows of a space of `size` bytes, with zeros where `rows` has none
// that begins with the row's offset.
std::string Dump(const std::vector<std::string>& rows, unsigned size = 0x100) {
  std::string text;
  for (unsigned at = 0; at < size; at += 16) {
    const std::string begin = absl::StrFormat("%02x: ", at);
    std::string row = begin + "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";
    for (const std::string& given : rows) {
      if (given.substr(0, begin.size()) == begin) row = given;
    }
    absl::StrAppend(&text, row, "\n");
  }
  return text;
}

Capture Make(std::string_view text, std::optional<std::string> bdf = {}) {
  auto capture = FixtureFromLspci(text, {.bdf = std::move(bdf)});
  EXPECT_THAT(capture, IsOk()) << text;
  return capture.ok() ? *std::move(capture) : Capture();
}

uint64_t SizeOf(const Capture& capture, uint32_t bar) {
  for (const fixture::Region& region : capture.device.regions()) {
    if (region.index() == bar) return region.size();
  }
  return 0;
}

fixture::BarRegisters BarsOf(const Capture& capture) {
  return fixture::AssignedBars(capture.device,
                               fixture::ExpandConfig(capture.device).bytes);
}

std::string Ehci(std::string_view heading) {
  return absl::StrCat(
      heading, "\n",
      Dump({"00: 34 12 36 28 06 00 90 02 03 20 03 0c 00 00 00 00",
            "10: 00 4c 70 fc 00 00 00 00 00 00 00 00 00 00 00 00",
            "20: 00 00 00 00 00 00 00 00 00 00 00 00 34 12 01 00",
            "30: 00 00 00 00 50 00 00 00 00 00 00 00 0a 01 00 00",
            "50: 01 00 c2 c9 00 00 00 00 00 00 00 00 00 00 00 00"}));
}

TEST(LspciBarTest, WithoutASizeIsAsLargeAsItsAddressAllows) {
  const Capture capture =
      Make(Ehci("00:1d.7 USB controller: Device 1234:2836"));
  EXPECT_EQ(SizeOf(capture, 0), 0x400u);
  EXPECT_THAT(capture.notes, Contains(HasSubstr("size of BAR 0")));
}

TEST(LspciBarTest, WithoutASizeIsAtMostAPage) {
  const Capture capture = Make(absl::StrReplaceAll(
      Ehci("00:1d.7 USB controller: x"), {{"00 4c 70 fc", "00 00 70 fc"}}));
  EXPECT_EQ(SizeOf(capture, 0), 0x1000u);
}

std::string LegacyIde(std::string_view registers) {
  return absl::StrCat(
      "00:1f.2 IDE interface [0101]: Device [1234:27c4] (prog-if 80)\n"
      "\tRegion 0: I/O ports at 01f0 [size=8]\n"
      "\tRegion 1: I/O ports at 03f4 [size=1]\n"
      "\tRegion 2: I/O ports at 0170 [virtual] [size=8]\n"
      "\tRegion 3: I/O ports at 0374 [virtual] [size=1]\n"
      "\tRegion 4: I/O ports at 60a0 [size=16]\n",
      Dump({"00: 34 12 c4 27 05 00 b0 02 02 80 01 01 00 00 00 00",
            absl::StrCat("10: ", registers),
            "20: a1 60 00 00 00 00 00 00 00 00 00 00 34 12 01 00",
            "30: 00 00 00 00 70 00 00 00 00 00 00 00 ff 02 00 00",
            "70: 01 00 02 40 00 00 00 00 00 00 00 00 00 00 00 00"}));
}

// The registers hold no addresses in compatibility mode, and in some devices
// not even the bit of an I/O BAR.
TEST(LspciBarTest, LegacyPortsHaveFourBytesAtLeast) {
  for (const char* const registers :
       {"01 00 00 00 01 00 00 00 01 00 00 00 01 00 00 00",
        "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"}) {
    const Capture capture = Make(LegacyIde(registers));
    EXPECT_EQ(SizeOf(capture, 0), 8u);
    EXPECT_EQ(SizeOf(capture, 1), 4u);
    EXPECT_EQ(SizeOf(capture, 3), 4u);
    EXPECT_THAT(BarsOf(capture),
                ElementsAre(0x1f1u, 0x3f5u, 0x171u, 0x375u, 0x60a1u, 0u));
    EXPECT_THAT(capture.notes, Contains(HasSubstr("gives BAR 1 a size of 1")));
  }
}

std::string BootVga(std::string_view rom_register, std::string_view rom_line) {
  return absl::StrCat(
      "01:00.0 VGA compatible controller [0300]: Device [1234:9000]\n"
      "\tRegion 0: Memory at fc000000 (32-bit, prefetchable) [size=16M]\n\t",
      rom_line, "\n",
      Dump({"00: 34 12 00 90 07 00 80 02 00 00 00 03 00 00 00 00",
            "10: 08 00 00 fc 00 00 00 00 00 00 00 00 00 00 00 00",
            "20: 00 00 00 00 00 00 00 00 00 00 00 00 34 12 01 00",
            absl::StrCat("30: ", rom_register,
                         " 00 00 00 00 00 00 00 00 0b 01 00 00")}));
}

TEST(LspciRomTest, ShadowSaysNothingOfTheBar) {
  for (const char* const line :
       {"Expansion ROM at 000c0000 [disabled] [size=128K]",
        "[virtual] Expansion ROM at 000c0000 [disabled] [size=128K]",
        "Expansion ROM at 000c0000 [virtual] [disabled] [size=128K]"}) {
    Capture capture = Make(BootVga("00 00 01 f8", line));
    EXPECT_EQ(capture.device.expansion_rom().bar_size(), 0x10000u) << line;
    EXPECT_THAT(capture.notes, Contains(HasSubstr("shadow")));
    capture = Make(BootVga("00 80 00 f8", line));
    EXPECT_EQ(capture.device.expansion_rom().bar_size(), 0x8000u) << line;
    // Nothing tells that there is a BAR.
    capture = Make(BootVga("00 00 00 00", line));
    EXPECT_FALSE(capture.device.has_expansion_rom()) << line;
  }
}

TEST(LspciRomTest, SizeIsThatOfTheBarIfItIsNoShadow) {
  for (const char* const line :
       {"Expansion ROM at f8000000 [disabled] [size=256K]",
        "[virtual] Expansion ROM at f8000000 [disabled] [size=256K]",
        "Expansion ROM at <unassigned> [disabled] [size=256K]",
        "Expansion ROM at <ignored> [disabled] [size=256K]"}) {
    EXPECT_EQ(
        Make(BootVga("00 00 00 f8", line)).device.expansion_rom().bar_size(),
        0x40000u);
    EXPECT_EQ(
        Make(BootVga("00 00 00 00", line)).device.expansion_rom().bar_size(),
        0x40000u);
  }
}

constexpr std::string_view kAfterReset =
    "01:00.0 VGA compatible controller [0300]: NVIDIA [10de:2c05] (rev 01)\n"
    "\tRegion 0: Memory at 90000000 (32-bit, non-prefetchable) [virtual] "
    "[size=16M]\n"
    "\tRegion 1: Memory at 6000000000 (64-bit, prefetchable) [virtual] "
    "[size=16G]\n"
    "\tRegion 3: Memory at 6400000000 (64-bit, prefetchable) [virtual] "
    "[size=32M]\n"
    "\tRegion 5: I/O ports at e000 [virtual] [size=128]\n";

std::string AfterReset(std::string_view lines = kAfterReset,
                       std::string_view registers =
                           "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00") {
  return absl::StrCat(
      lines, Dump({"00: de 10 05 2c 06 00 10 00 01 00 00 03 00 00 00 00",
                   absl::StrCat("10: ", registers),
                   "20: 00 00 00 00 00 00 00 00 00 00 00 00 de 10 05 2c",
                   "30: 00 00 00 00 40 00 00 00 00 00 00 00 00 01 00 00",
                   "40: 01 60 03 00 08 00 00 00 00 00 00 00 00 00 00 00",
                   "60: 10 00 02 00 00 80 00 10 00 00 00 00 00 00 00 00"}));
}

TEST(LspciBarTest, EmptyRegisterIsWhatTheTextSays) {
  const Capture capture = Make(AfterReset());
  EXPECT_THAT(BarsOf(capture),
              ElementsAre(0x90000000u, 0xcu, 0x60u, 0xcu, 0x64u, 0xe001u));
  EXPECT_EQ(SizeOf(capture, 1), uint64_t{16} << 30);
  EXPECT_EQ(SizeOf(capture, 3), uint64_t{32} << 20);
  EXPECT_EQ(SizeOf(capture, 5), 128u);
  EXPECT_THAT(capture.notes,
              Contains(HasSubstr("register of BAR 1 holds nothing")));
}

// Hardware keeps the type of a BAR when it loses the address.
TEST(LspciBarTest, RegisterWithoutAnAddressHasThatOfTheText) {
  const Capture capture = Make(AfterReset(
      kAfterReset, "00 00 00 00 0c 00 00 00 00 00 00 00 0c 00 00 00"));
  EXPECT_THAT(BarsOf(capture),
              ElementsAre(0x90000000u, 0xcu, 0x60u, 0xcu, 0x64u, 0xe001u));
}

TEST(LspciBarTest, AddressAbove4GiBIsOfA64BitBar) {
  const Capture capture = Make(
      AfterReset(absl::StrReplaceAll(kAfterReset, {{"(64-bit", "(32-bit"}})));
  EXPECT_THAT(BarsOf(capture),
              ElementsAre(0x90000000u, 0xcu, 0x60u, 0xcu, 0x64u, 0xe001u));
}

TEST(LspciBarTest, UnassignedLargeBarGetsAnAlignedAddress) {
  for (const char* const place : {"<unassigned>", "<ignored>"}) {
    const Capture capture = Make(
        AfterReset(absl::StrReplaceAll(kAfterReset, {{"6000000000", place}}),
                   "00 00 00 00 0c 00 00 00 00 00 00 00 00 00 00 00"));
    EXPECT_EQ(SizeOf(capture, 1), uint64_t{16} << 30);
    EXPECT_THAT(capture.notes, Contains(HasSubstr("BAR 1 had no address")));
  }
}

TEST(LspciBarTest, MoreThanOneTerabyte) {
  const Capture capture = Make(absl::StrCat(
      "18:00.0 3D controller [0302]: NVIDIA [10de:2335] (rev 01)\n"
      "\tRegion 2: Memory at 200000000000 (64-bit, prefetchable) [size=2T]\n",
      Dump({"00: de 10 35 23 06 00 10 00 01 00 02 03 00 00 00 00",
            "10: 00 00 00 00 00 00 00 00 0c 00 00 00 00 20 00 00",
            "20: 00 00 00 00 00 00 00 00 00 00 00 00 de 10 35 23"})));
  EXPECT_EQ(SizeOf(capture, 2), uint64_t{2} << 40);
}

// A line that a mailer broke.
TEST(LspciBarTest, LineIsBroken) {
  const Capture capture = Make(AfterReset(absl::StrReplaceAll(
      kAfterReset, {{" [virtual] [size=16G]", "\n[virtual] [size=16G]"},
                    {" [size=32M]", "\n> [size=32M]"}})));
  EXPECT_EQ(SizeOf(capture, 1), uint64_t{16} << 30);
  EXPECT_EQ(SizeOf(capture, 3), uint64_t{32} << 20);
}

TEST(LspciBarTest, RegionsOfVirtualFunctionsAreNotTheDevices) {
  const Capture capture = Make(AfterReset(absl::StrCat(
      kAfterReset,
      "\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)\n"
      "\t\tRegion 0: Memory at 0000000091000000 (64-bit, prefetchable)\n")));
  EXPECT_EQ(BarsOf(capture)[0], 0x90000000u);
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{16} << 20);
}

std::string VirtualFunction(std::string_view heading, std::string_view lines,
                            std::string_view msix) {
  return absl::StrCat(
      heading, "\n", lines,
      Dump({"00: ff ff ff ff 06 00 10 00 01 00 00 02 00 00 00 00",
            "20: 00 00 00 00 00 00 00 00 00 00 00 00 b3 15 18 10",
            "30: 00 00 00 00 60 00 00 00 00 00 00 00 00 00 00 00",
            "60: 10 a0 02 00 00 80 00 10 00 00 00 00 00 00 00 00",
            absl::StrCat("a0: ", msix)}));
}

constexpr std::string_view kMsix12 =
    "11 00 0b 00 00 20 00 00 00 30 00 00 00 00 00 00";

TEST(LspciOneVTest, LinesOfBarsHaveNoNumbers) {
  const Capture capture = Make(VirtualFunction(
      "d8:00.2 Ethernet controller: Mellanox Technologies MT27800 Family "
      "[ConnectX-5 Virtual Function] [15b3:1018] (rev 01)",
      "\tFlags: bus master, fast devsel, latency 0, IOMMU group 77\n"
      "\tMemory at f9000000 (64-bit, prefetchable) [size=1M]\n",
      kMsix12));
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{1} << 20);
  EXPECT_EQ(capture.device.iommu_group().number(), 77u);
  EXPECT_THAT(capture.notes, Not(Contains(HasSubstr("-v"))));
}

TEST(LspciOneVTest, RegistersTellTheNumbers) {
  const Capture capture = Make(absl::StrCat(
      "01:00.0 VGA compatible controller: Example (rev a1)\n"
      "\tFlags: bus master, fast devsel, latency 0, IRQ 16\n"
      "\tMemory at f6000000 (32-bit, non-prefetchable) [size=16M]\n"
      "\tMemory at e0000000 (64-bit, prefetchable) [size=256M]\n"
      "\tMemory at <unassigned> (64-bit, prefetchable) [size=32M]\n"
      "\tI/O ports at e000 [disabled] [size=128]\n"
      "\t[virtual] Expansion ROM at f7000000 [disabled] [size=512K]\n"
      "\tCapabilities: <access denied>\n",
      Dump({"00: de 10 80 1b 07 00 00 00 a1 00 00 03 00 00 80 00",
            "10: 00 00 00 f6 0c 00 00 e0 00 00 00 00 0c 00 00 00",
            "20: 00 00 00 00 01 e0 00 00 00 00 00 00 de 10 80 1b",
            "30: 00 00 00 00 00 00 00 00 00 00 00 00 0b 01 00 00"})));
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{16} << 20);
  EXPECT_EQ(SizeOf(capture, 1), uint64_t{256} << 20);
  EXPECT_EQ(SizeOf(capture, 3), uint64_t{32} << 20);
  EXPECT_EQ(SizeOf(capture, 5), 128u);
  EXPECT_EQ(capture.device.expansion_rom().bar_size(), 512u << 10);
}

// As on a Raspberry Pi, where the processor's addresses are not the bus's.
TEST(LspciOneVTest, AddressesOfTheBusAreNotThoseOfTheProcessor) {
  const Capture capture = Make(absl::StrCat(
      "01:00.0 VGA compatible controller: Example (rev a1)\n"
      "\tMemory at 618000000 (32-bit, non-prefetchable) [size=16M]\n"
      "\tMemory at 600000000 (64-bit, prefetchable) [size=256M]\n"
      "\tMemory at 610000000 (64-bit, prefetchable) [size=32M]\n"
      "\tI/O ports at <unassigned> [disabled]\n"
      "\t[virtual] Expansion ROM at 619000000 [disabled] [size=512K]\n",
      Dump({"00: de 10 80 1b 07 00 00 00 a1 00 00 03 00 00 80 00",
            "10: 00 00 00 d8 0c 00 00 c0 00 00 00 00 0c 00 00 d0",
            "20: 00 00 00 00 01 00 00 00 00 00 00 00 de 10 80 1b",
            "30: 00 00 00 00 00 00 00 00 00 00 00 00 0b 01 00 00"})));
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{16} << 20);
  EXPECT_EQ(SizeOf(capture, 1), uint64_t{256} << 20);
  EXPECT_EQ(SizeOf(capture, 3), uint64_t{32} << 20);
  EXPECT_EQ(SizeOf(capture, 5), 4u);
  EXPECT_EQ(BarsOf(capture)[0], 0xd8000000u);
}

// Its registers are 0, and only the MSI-X structures tell that the second line
// is of BAR 3.
TEST(LspciOneVTest, MsixTellsTheBarOfAVirtualFunction) {
  const Capture capture = Make(VirtualFunction(
      "01:10.0 Ethernet controller [0200]: Intel [8086:10ca] (rev 01)",
      "\t[virtual] Memory at fea00000 (64-bit, prefetchable) [size=16K]\n"
      "\t[virtual] Memory at fea20000 (64-bit, prefetchable) [size=16K]\n",
      "11 00 02 00 03 00 00 00 03 20 00 00 00 00 00 00"));
  EXPECT_EQ(SizeOf(capture, 0), 0x4000u);
  EXPECT_EQ(SizeOf(capture, 3), 0x4000u);
  EXPECT_EQ(SizeOf(capture, 2), 0u);
}

TEST(LspciHeadingTest, IdsAreFoundInEveryForm) {
  for (const char* const heading : {
           "2e:00.1 Non-Volatile memory controller [0108]: Samsung NVMe SSD "
           "[144d:a826] (rev 01) (prog-if 02 [NVM Express])",
           "2e:00.1 Class [0108]: Samsung [PM174X] [144d:a826]",
           "2e:00.1 0108: 144d:a826 (rev 01) (prog-if 02 [NVM Express])",
           "2e:00.1 Class 0108: 144d:a826 (rev 01)",
           "2e:00.1 Non-Volatile memory controller: Device 144d:a826 (rev 01)",
           "2e:00.1 \"0108\" \"144d\" \"a826\" -r01 -p02 \"144d\" \"a801\"",
           "2e:00.1 \"NVMe [0108]\" \"Samsung [144d]\" \"SSD [PM] [a826]\"",
           "0000:2e:00.1 Non-Volatile memory controller [0108]: Samsung "
           "\n[144d:a826] (rev 01)",
           "0000:00:1c.0/0d:00.0/2e:00.1 NVMe [0108]: Samsung [144d:a826]",
           "Slot:\t2e:00.1\nClass:\tNVMe [0108]\nVendor:\tSamsung [144d]\n"
           "Device:\tSSD [a826]\nSVendor:\tx [1234]\nSDevice:\ty [5678]",
           "Slot:\t2e:00.1\nClass:\t0108\nVendor:\t144d\nDevice:\ta826",
       }) {
    const Capture capture = Make(VirtualFunction(
        heading,
        "\tRegion 0: Memory at f9000000 (64-bit, prefetchable) [size=32K]\n",
        kMsix12));
    EXPECT_EQ(capture.device.bdf(), "0000:2e:00.1") << heading;
    EXPECT_EQ(capture.device.identity().vendor_id(), 0x144du) << heading;
    EXPECT_EQ(capture.device.identity().device_id(), 0xa826u) << heading;
  }
}

// People post the output of several calls.
TEST(LspciHeadingTest, IdsMayBeInAListAbove) {
  const Capture capture = Make(absl::StrCat(
      "2e:00.1 NVMe [0108]: Samsung [144d:a826] (rev 01)\n"
      "3f:00.0 Other [0200]: Intel [8086:1533]\n\n",
      VirtualFunction("2e:00.1 NVMe: Samsung (rev 01)",
                      "\tRegion 0: Memory at f9000000 (64-bit, prefetchable) "
                      "[size=32K]\n",
                      kMsix12)));
  EXPECT_EQ(capture.device.identity().device_id(), 0xa826u);
}

TEST(LspciHeadingTest, VirtualFunctionWithoutIdsIsToldToPrintThem) {
  EXPECT_THAT(
      FixtureFromLspci(
          VirtualFunction("2e:00.1 NVMe: Samsung (rev 01)", "", kMsix12), {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-nn")));
}

TEST(LspciHeadingTest, DomainsMayBeWide) {
  for (const char* const bdf : {"10000:e1:00.0", "10001:e1:00.0",
                                "abcdef:01:00.0", "7fffffff:01:1f.7"}) {
    const std::string text =
        absl::StrCat(Ehci("0000:00:1f.3 Audio: x"), "\n",
                     Ehci(absl::StrCat(bdf, " USB controller: Device")));
    EXPECT_EQ(Make(text, bdf).device.bdf(), bdf);
    EXPECT_EQ(Make(text, "0000:00:1f.3").device.bdf(), "0000:00:1f.3");
  }
}

TEST(LspciDamageTest, OnlyTheDeviceAskedForMustBeReadable) {
  const std::string broken = absl::StrReplaceAll(
      Ehci("01:00.0 System peripheral: Device"),
      {{"60: 00 00 00 00 00 00", "60: 00 00 00 00 00 pcilib: read failed\n"}});
  for (const std::string& damaged :
       {broken, Ehci("01:00.0 x").substr(0, 600),
        absl::StrCat("00: 11 22 stray\n", broken)}) {
    const std::string text =
        absl::StrCat(damaged, "\n", Ehci("00:1d.7 USB controller: Device"),
                     "\n", absl::StrReplaceAll(broken, {{"01:", "02:"}}));
    EXPECT_EQ(SizeOf(Make(text, "0000:00:1d.7"), 0), 0x400u);
    EXPECT_THAT(
        FixtureFromLspci(text, {.bdf = "0000:01:00.0"}),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line ")));
  }
}

std::string QuotedPrintable(std::string_view text) {
  std::string out;
  size_t column = 0;
  for (const char c : text) {
    if (column >= 70 && c != '\n') {
      out += "=\n";
      column = 0;
    }
    if (c == '=') {
      out += "=3D";
      column += 3;
    } else {
      out += c;
      column = c == '\n' ? 0 : column + 1;
    }
  }
  return out;
}

std::string Base64Lines(std::string_view text) {
  std::string encoded;
  absl::Base64Escape(text, &encoded);
  std::string out;
  for (size_t at = 0; at < encoded.size(); at += 76) {
    absl::StrAppend(&out, encoded.substr(at, 76), "\n");
  }
  return out;
}

std::string Utf16(std::string_view text) {
  std::string out = "\xff\xfe";
  for (const char c : text) {
    out += c;
    out += '\0';
  }
  return out;
}

TEST(LspciMailTest, EncodingsAreUndone) {
  const std::string text = AfterReset();
  const std::string expected = Make(text).device.SerializeAsString();
  const std::string crlf = absl::StrReplaceAll(text, {{"\n", "\r\n"}});
  const std::string quoted = absl::StrReplaceAll(text, {{"\n", "\n> "}});
  const std::pair<const char*, std::string> posted[] = {
      {"quoted-printable", QuotedPrintable(text)},
      {"quoted-printable with CRLF",
       absl::StrReplaceAll(QuotedPrintable(text), {{"\n", "\r\n"}})},
      {"quoted-printable of a reply", QuotedPrintable(quoted)},
      {"quoted-printable, marked",
       absl::StrCat("Content-Transfer-Encoding: quoted-printable\n\n",
                    QuotedPrintable(text))},
      {"quoted-printable tabs",
       absl::StrReplaceAll(QuotedPrintable(text), {{"\t", "=09"}})},
      {"base64", Base64Lines(text)},
      {"base64 of CRLF", Base64Lines(crlf)},
      {"base64 in a mail",
       absl::StrCat("From: a\nContent-Transfer-Encoding: BASE64\r\n\r\n",
                    Base64Lines(quoted), "--boundary--\n")},
      {"UTF-16", Utf16(crlf)},
      {"UTF-8 with a mark", absl::StrCat("\xef\xbb\xbf", text)},
      {"old Mac", absl::StrReplaceAll(text, {{"\n", "\r"}})},
      {"no-break spaces", absl::StrReplaceAll(text, {{"\t", "\xc2\xa0 "}})},
      {"HTML", absl::StrReplaceAll(quoted, {{">", "&gt;"}})},
  };
  for (const auto& [name, mail] : posted) {
    const auto capture = FixtureFromLspci(mail, {});
    ASSERT_THAT(capture, IsOk()) << name;
    EXPECT_EQ(capture->device.SerializeAsString(), expected) << name;
  }
}

TEST(LspciMailTest, OtherTextStaysAsItIs) {
  for (const char* const text :
       {"PBA: BAR=0 offset=00003000\n", "a=b\n", "DEVSEL=fast >TAbort-\n", "",
        "=\n", "=", "=3", "abcd\n", "\xff", "&amp"}) {
    EXPECT_EQ(PlainText(text), text) << absl::CHexEscape(text);
  }
}

TEST(LspciMsixTest, StructuresMayOverlapOrBeElsewhere) {
  constexpr std::string_view kHeading =
      "03:01.0 Ethernet controller [0200]: Chelsio [1425:5801] (rev 01)";
  constexpr std::string_view kLines =
      "\tRegion 0: Memory at 383ff0000000 (64-bit, non-prefetchable) "
      "[size=16K]\n"
      "\tRegion 4: Memory at 383ff0200000 (64-bit, non-prefetchable) "
      "[size=8K]\n";
  Capture capture = Make(VirtualFunction(
      kHeading, kLines, "11 00 08 00 04 00 00 00 04 80 00 00 00 00 00 00"));
  EXPECT_EQ(capture.device.irqs(2).count(), 9u);
  EXPECT_EQ(SizeOf(capture, 4), 0x2000u);
  EXPECT_THAT(capture.notes, Contains(HasSubstr("pending bit array")));
  // Without a size, the address says that the bits are not inside.
  capture = Make(VirtualFunction(
      kHeading,
      absl::StrReplaceAll(kLines, {{"0200000", "0202000"}, {" [size=8K]", ""}}),
      "11 00 08 00 04 00 00 00 04 80 00 00 00 00 00 00"));
  EXPECT_EQ(SizeOf(capture, 4), 0x2000u);
  capture = Make(VirtualFunction(
      kHeading, kLines, "11 00 15 00 00 20 00 00 00 21 00 00 00 00 00 00"));
  EXPECT_THAT(capture.notes, Contains(HasSubstr("overlap")));
  capture = Make(VirtualFunction(
      kHeading, kLines, "11 00 15 00 05 20 00 00 05 21 00 00 00 00 00 00"));
  EXPECT_THAT(capture.notes, Contains(HasSubstr("The MSI-X table")));
  EXPECT_EQ(capture.device.irqs(2).count(), 22u);
}

std::string HeaderOf(std::string_view lines) {
  return absl::StrCat(
      "01:00.0 Ethernet controller [0200]: Intel [8086:1533] (rev 03)\n"
      "\tRegion 0: Memory at f7200000 (32-bit, non-prefetchable) [size=512K]\n"
      "\tRegion 3: Memory at f7280000 (32-bit, non-prefetchable) [size=16K]\n",
      lines,
      "\tKernel driver in use: igb\n"
      "00: 86 80 33 15 07 04 10 00 03 00 00 02 10 00 00 00\n"
      "10: 00 00 20 f7 00 00 00 00 00 00 00 00 00 00 28 f7\n"
      "20: 00 00 00 00 00 00 00 00 00 00 00 00 d9 15 33 15\n"
      "30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00\n");
}

TEST(LspciWordsTest, CapabilitiesOfAHeaderAreWhatTheWordsSay) {
  const Capture capture = Make(HeaderOf(
      "\tCapabilities: [40] Power Management version 3\n"
      "\t\tFlags: PMEClk- DSI+ D1- D2- AuxCurrent=0mA "
      "PME(D0+,D1-,D2-,D3hot+,D3cold+)\n"
      "\t\tStatus: D0 NoSoftRst- PME-Enable- DSel=0 DScale=1 PME-\n"
      "\tCapabilities: [50] MSI: Enable- Count=1/4 Maskable+ 64bit+\n"
      "\t\tAddress: 0000000000000000  Data: 0000\n"
      "\t\tMasking: 00000000  Pending: 00000000\n"
      "\tCapabilities: [70] MSI-X: Enable+ Count=5 Masked-\n"
      "\t\tVector table: BAR=3 offset=00000000\n"
      "\t\tPBA: BAR=3 offset=00002000\n"
      "\tCapabilities: [a0] Express (v2) Endpoint, MSI 00\n"
      "\t\tDevCap:\tMaxPayload 512 bytes, PhantFunc 0, Latency L0s <512ns\n"
      "\t\t\tExtTag- AttnBtn- AttnInd- PwrInd- RBE+ FLReset+ SlotPowerLimit "
      "0W\n"
      "\tCapabilities: [e0] Vital Product Data\n"
      "\tCapabilities: [100 v2] Advanced Error Reporting\n"));
  const fixture::PciDevice& device = capture.device;
  const std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  EXPECT_EQ(config[0x34], 0x40);
  EXPECT_EQ(fixture::ReadLe32(config, 0x40), 0xc8035001u);
  EXPECT_EQ(fixture::ReadLe32(config, 0x50), 0x01847005u);
  EXPECT_EQ(fixture::ReadLe32(config, 0x70), 0x0004a011u);
  EXPECT_EQ(fixture::ReadLe32(config, 0x74), 0x3u);
  EXPECT_EQ(fixture::ReadLe32(config, 0x78), 0x2003u);
  EXPECT_EQ(fixture::ReadLe32(config, 0xa0), 0x00020010u);
  EXPECT_EQ(fixture::ReadLe32(config, 0xa4), 0x10000002u);
  EXPECT_EQ(device.irqs(1).count(), 4u);
  EXPECT_EQ(device.irqs(2).count(), 5u);
  EXPECT_THAT(
      device.reset().methods(),
      ElementsAre(fixture::Reset::FLR, fixture::Reset::POWER_MANAGEMENT));
  EXPECT_THAT(capture.notes, Contains(HasSubstr("only the header")));
  EXPECT_THAT(capture.notes, Contains(HasSubstr("Vital Product Data")));
}

TEST(LspciWordsTest, OldWords) {
  const Capture capture = Make(HeaderOf(
      "\tCapabilities: [40] Message Signalled Interrupts: Mask- 64bit- "
      "Queue=0/2 Enable-\n"
      "\tCapabilities: [60] MSI-X: Enable- Mask- TabSize=5\n"
      "\t\tVector table: BAR=3 offset=00000000\n"
      "\t\tPBA: BAR=3 offset=00002000\n"
      "\tCapabilities: [80] PCI Advanced Features\n"
      "\t\tAFCap: TP+ FLR+\n"
      "\t\tAFCtrl: FLR-\n"
      "\tCapabilities: [90] Express Root Complex Integrated Endpoint IRQ 0\n"));
  const fixture::PciDevice& device = capture.device;
  const std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  EXPECT_EQ(device.irqs(1).count(), 4u);
  EXPECT_EQ(device.irqs(2).count(), 5u);
  EXPECT_EQ(fixture::ReadLe16(config, 0x92), 0x91);
  EXPECT_THAT(device.reset().methods(), ElementsAre(fixture::Reset::AF_FLR));
}

TEST(LspciWordsTest, WhatTheWordsDoNotTellIsLeftOut) {
  const Capture capture = Make(
      HeaderOf("\tCapabilities: [40] MSI: Enable- Count=1/1 Maskable- 64bit+\n"
               "\tCapabilities: [44] Express Endpoint, MSI 00\n"
               "\tCapabilities: [70] MSI-X: Enable+ Count=5 Masked-\n"
               "\tCapabilities: [fc] Power Management version 2\n"
               "\tCapabilities: [43] Power Management version 2\n"));
  EXPECT_EQ(capture.device.irqs(1).count(), 1u);
  EXPECT_EQ(capture.device.irqs(2).count(), 0u);
  EXPECT_THAT(
      capture.notes,
      Contains(HasSubstr("Express Endpoint, MSI 00, MSI-X, Power Management")));
}

// As in Cavium's ThunderX. The registers are 0.
TEST(LspciEnhancedAllocationTest, CapabilityTellsTheBars) {
  const std::string text = absl::StrCat(
      "0002:01:00.0 Ethernet controller [0200]: Cavium [177d:a01e] (rev 09)\n"
      "\tRegion 0: Memory at 843000000000 (32-bit, non-prefetchable) "
      "[enhanced] [size=1G]\n",
      Dump({"00: 7d 17 1e a0 06 00 10 00 09 00 00 02 00 00 00 00",
            "20: 00 00 00 00 00 00 00 00 00 00 00 00 7d 17 1e a1",
            "30: 00 00 00 00 40 00 00 00 00 00 00 00 00 00 00 00",
            "40: 10 80 02 00 00 80 00 10 00 00 00 00 00 00 00 00",
            "80: 11 98 0f 00 04 00 00 00 04 00 0f 00 00 00 00 00",
            // Two enabled entries, BAR 0 of 1 GiB with 64-bit fields and BAR 4
            // of 2 MiB with a 64-bit base.
            "90: 00 00 00 00 00 00 00 00 14 00 02 00 04 00 00 80",
            "a0: 02 00 00 00 fe ff ff 3f 30 84 00 00 00 00 00 00",
            "b0: 43 00 00 80 02 00 00 e0 fc ff 1f 00 31 84 00 00"}));
  const Capture capture = Make(text);
  EXPECT_FALSE(capture.device.is_virtual_function());
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{1} << 30);
  EXPECT_EQ(SizeOf(capture, 4), uint64_t{2} << 20);
  EXPECT_THAT(BarsOf(capture),
              ElementsAre(0x4u, 0x8430u, 0u, 0u, 0xe0000004u, 0x8431u));
  const fixture::ConfigImage image = fixture::ExpandConfig(capture.device);
  EXPECT_EQ(fixture::ReadLe32(image.bytes, 0x10), 0u);
}

// A text whose capability is not known to be that, with the address only.
TEST(LspciEnhancedAllocationTest, TextTellsTheBars) {
  const Capture capture = Make(absl::StrCat(
      "0002:01:00.1 Ethernet controller [0200]: Cavium [177d:a01e] (rev 09)\n"
      "\tMemory at 843000000000 (32-bit, non-prefetchable) [enhanced] "
      "[size=1G]\n",
      "00: 7d 17 1e a0 06 00 10 00 09 00 00 02 00 00 00 00\n"
      "10: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
      "20: 00 00 00 00 00 00 00 00 00 00 00 00 7d 17 1e a1\n"
      "30: 00 00 00 00 40 00 00 00 00 00 00 00 00 00 00 00\n"));
  EXPECT_EQ(SizeOf(capture, 0), uint64_t{1} << 30);
  EXPECT_EQ(BarsOf(capture)[0], 0x4u);
  EXPECT_EQ(BarsOf(capture)[1], 0x8430u);
}

}  // namespace
}  // namespace passthru::capture
