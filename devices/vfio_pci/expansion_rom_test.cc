// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/expansion_rom.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/little_endian.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint64_t kRomAddress = 0xf0000000;

std::vector<uint8_t> RomFor(uint16_t vendor, uint16_t device, size_t size) {
  std::vector<uint8_t> rom(size, 0x11);
  const absl::Span<uint8_t> bytes = absl::MakeSpan(rom);
  pci::StoreLittleEndian<uint16_t>(bytes, 0, 0xaa55);
  pci::StoreLittleEndian<uint16_t>(bytes, 0x18, 0x1c);
  pci::StoreLittleEndian<uint32_t>(bytes, 0x1c, 0x52494350);
  pci::StoreLittleEndian<uint16_t>(bytes, 0x20, vendor);
  pci::StoreLittleEndian<uint16_t>(bytes, 0x22, device);
  return rom;
}

class ExpansionRomTest : public ::testing::Test {
 protected:
  ExpansionRomTest()
      : rom_("ROM", RomFor(0x8086, 0x100e, 3000), &bus_, &failures_) {}

  uint64_t Load(uint64_t address, unsigned width) {
    std::vector<uint8_t> bytes(8);
    bus_.Read(address, absl::MakeSpan(bytes).first(width));
    return pci::LoadLittleEndian<uint64_t>(bytes, 0);
  }

  bus::Bus bus_{"memory"};
  kernel::FailureLog failures_{"device"};
  ExpansionRom rom_;
};

TEST_F(ExpansionRomTest, TakesThePowerOfTwoThatHoldsIt) {
  EXPECT_TRUE(rom_.bar().index.is_rom());
  EXPECT_EQ(rom_.bar().size, 4096u);
  const ExpansionRom small("ROM", {0x55, 0xaa}, &bus_, &failures_);
  EXPECT_EQ(small.bar().size, 2048u);
}

TEST_F(ExpansionRomTest, AnswersWhereItIsPlaced) {
  rom_.Place(kRomAddress);
  EXPECT_EQ(Load(kRomAddress, 2), 0xaa55u);
  EXPECT_EQ(Load(kRomAddress + 0x1c, 8), 0x100e808652494350u);
  // Behind the image, across its end, and behind the BAR.
  EXPECT_EQ(Load(kRomAddress + 3000, 4), 0xffffffffu);
  EXPECT_EQ(Load(kRomAddress + 2998, 4), 0xffff1111u);
  const uint64_t misses = bus_.stats().misses;
  Load(kRomAddress + 4096, 4);
  EXPECT_EQ(bus_.stats().misses, misses + 1);

  RomReport report;
  rom_.Describe(report);
  EXPECT_TRUE(report.placed);
  EXPECT_EQ(report.image_size, 3000u);
  EXPECT_EQ(report.reads, 4u);
}

TEST_F(ExpansionRomTest, IgnoresWrites) {
  rom_.Place(kRomAddress);
  const std::vector<uint8_t> bytes = {1, 2, 3, 4};
  bus_.Write(kRomAddress, bytes);
  EXPECT_EQ(Load(kRomAddress, 2), 0xaa55u);
  EXPECT_EQ(failures_.count(), 0u);
}

TEST_F(ExpansionRomTest, MovesAndGoes) {
  rom_.Place(kRomAddress);
  rom_.Retract(kRomAddress);
  EXPECT_EQ(Load(kRomAddress, 2), 0xaa55u) << "it stays";
  rom_.Retract(kRomAddress + 0x10000);
  EXPECT_EQ(Load(kRomAddress, 2), 0xffffu);
  rom_.Place(kRomAddress + 0x10000);
  EXPECT_EQ(Load(kRomAddress + 0x10000, 2), 0xaa55u);
  rom_.Retract(std::nullopt);
  rom_.Place(std::nullopt);
  EXPECT_EQ(Load(kRomAddress + 0x10000, 2), 0xffffu);
}

TEST_F(ExpansionRomTest, AnAddressThatMakesNoSenseIsNotPlaced) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{0xfffff000}}) {
    rom_.Retract(address);
    rom_.Place(address);
    RomReport report;
    rom_.Describe(report);
    EXPECT_FALSE(report.placed);
    EXPECT_THAT(report.problem, HasSubstr("cannot decode"));
  }
  EXPECT_EQ(failures_.count(), 0u) << "software sizes a ROM so";
}

TEST(RomOptionsTest, WhatMakesNoSenseIsAnError) {
  using Source = RomOptions::Source;
  const auto check = [](Source source, std::vector<uint8_t> bytes) {
    return RomOptions{.source = source, .bytes = std::move(bytes)}.Check();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(check(Source::kNone, {}), IsOk());
  EXPECT_THAT(check(Source::kDevice, {}), IsOk());
  EXPECT_THAT(check(Source::kBytes, {0x55, 0xaa}), IsOk());
  EXPECT_THAT(check(Source::kBytes, {}),
              StatusIs(kInvalid, HasSubstr("0 bytes")));
  EXPECT_THAT(check(Source::kBytes, {0x7f, 'E', 'L', 'F'}),
              StatusIs(kInvalid, HasSubstr("begins with 55 aa, and this one "
                                           "with 7f 45")));
  EXPECT_THAT(check(Source::kBytes, std::vector<uint8_t>(kMaxRomSize + 1)),
              StatusIs(kInvalid, HasSubstr("at most 16 MiB")));
  for (const Source source : {Source::kNone, Source::kDevice}) {
    EXPECT_THAT(check(source, {0x55, 0xaa}),
                StatusIs(kInvalid, HasSubstr("not kBytes")));
  }
}

TEST(RomMismatchTest, NamesWhatTheRomIsFor) {
  const std::vector<uint8_t> rom = RomFor(0x8086, 0x100e, 64);
  EXPECT_EQ(RomMismatch(rom, 0x8086, 0x100e), "");
  EXPECT_THAT(RomMismatch(rom, 0x8086, 0x100f),
              HasSubstr("for 8086:100e, and the guest sees 8086:100f"));
}

TEST(RomMismatchTest, AnyBytesAreRead) {
  std::vector<uint8_t> rom = {0x55, 0xaa};
  EXPECT_THAT(RomMismatch(rom, 1, 2), HasSubstr("no header"));
  rom.resize(64);
  for (const uint16_t pointer : {0, 0x3e, 0x40, 0xffff}) {
    pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(rom), 0x18, pointer);
    EXPECT_THAT(RomMismatch(rom, 1, 2), HasSubstr("no PCI data structure"));
  }
  // The structure ends with its letters, so the IDs read all ones.
  rom.resize(0x44);
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(rom), 0x18, 0x40);
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(rom), 0x40, 0x52494350);
  EXPECT_THAT(RomMismatch(rom, 1, 2), HasSubstr("ffff:ffff"));
}

}  // namespace
}  // namespace passthru::vfio_pci
