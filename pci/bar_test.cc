// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bar.h"

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr uint32_t kAllOnes = 0xffffffff;
constexpr uint64_t kKiB = 1024;
constexpr uint64_t kGiB = uint64_t{1} << 30;

Bar Memory32(uint64_t size) { return {.index = BarIndex(0), .size = size}; }
Bar Memory64(uint64_t size) {
  return {.index = BarIndex(0), .type = BarType::kMemory64, .size = size};
}
Bar Io(uint64_t size) {
  return {.index = BarIndex(2), .type = BarType::kIo, .size = size};
}
Bar Rom(uint64_t size) { return {.index = BarIndex::Rom(), .size = size}; }

TEST(BarTest, RegistersAreWhereTheHeaderHasThem) {
  EXPECT_EQ(RegisterOf(BarIndex(0)), kBar0);
  EXPECT_EQ(RegisterOf(BarIndex(3)), kBar3);
  EXPECT_EQ(RegisterOf(BarIndex(5)), kBar5);
  EXPECT_EQ(RegisterOf(BarIndex::Rom()).offset, 0x30);
}

// PCI 3.0 6.2.5.1.
TEST(DecodeBarTypeTest, LowBitsSayTheType) {
  EXPECT_EQ(DecodeBarType(0x00000001), BarType::kIo);
  EXPECT_EQ(DecodeBarType(0x00000000), BarType::kMemory32);
  EXPECT_EQ(DecodeBarType(0x00000008), BarType::kMemory32);
  EXPECT_EQ(DecodeBarType(0x00000004), BarType::kMemory64);
  EXPECT_EQ(DecodeBarType(0x0000000c), BarType::kMemory64);
}

TEST(DecodeBarTypeTest, ObsoleteAndReservedTypesAre32Bit) {
  EXPECT_EQ(DecodeBarType(0x00000002), BarType::kMemory32);
  EXPECT_EQ(DecodeBarType(0x00000006), BarType::kMemory32);
}

// The 64-bit type bit means nothing in an I/O BAR. A four-byte I/O BAR whose
// address has bit 2 set is not 64 bits wide, and the register after it is a BAR
// in its own right.
TEST(DecodeBarTypeTest, IoAddressBitIsNotTheTypeBit) {
  EXPECT_EQ(DecodeBarType(0x0000c005), BarType::kIo);
}

TEST(BarSizeFromMaskTest, Memory32) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory32, {0xffffc000}),
              IsOkAndHolds(16 * kKiB));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory32, {0xfffffff8}),
              IsOkAndHolds(16u));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory32, {0x80000000}),
              IsOkAndHolds(2 * kGiB));
}

TEST(BarSizeFromMaskTest, Memory64BelowFourGiB) {
  EXPECT_THAT(
      BarSizeFromMask(BarIndex(0), BarType::kMemory64, {0xffffc004, kAllOnes}),
      IsOkAndHolds(16 * kKiB));
}

TEST(BarSizeFromMaskTest, Memory64OfFourGiBAndMore) {
  EXPECT_THAT(
      BarSizeFromMask(BarIndex(0), BarType::kMemory64, {0x0000000c, kAllOnes}),
      IsOkAndHolds(4 * kGiB));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory64,
                              {0x0000000c, 0xfffffff8}),
              IsOkAndHolds(32 * kGiB));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory64,
                              {0x0000000c, 0x80000000}),
              IsOkAndHolds(uint64_t{1} << 63));
}

TEST(BarSizeFromMaskTest, Io) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(2), BarType::kIo, {0xffffffe1}),
              IsOkAndHolds(32u));
  EXPECT_THAT(BarSizeFromMask(BarIndex(2), BarType::kIo, {0xfffffffd}),
              IsOkAndHolds(4u));
}

TEST(BarSizeFromMaskTest, IoMayHardwireItsUpperHalf) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(2), BarType::kIo, {0x0000ff01}),
              IsOkAndHolds(256u));
}

TEST(BarSizeFromMaskTest, RomIgnoresReservedAndEnableBits) {
  EXPECT_THAT(
      BarSizeFromMask(BarIndex::Rom(), BarType::kMemory32, {0xfffc0001}),
      IsOkAndHolds(256 * kKiB));
  EXPECT_THAT(
      BarSizeFromMask(BarIndex::Rom(), BarType::kMemory32, {0xfffff801}),
      IsOkAndHolds(2 * kKiB));
}

TEST(BarSizeFromMaskTest, NothingWritableMeansNotImplemented) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory32, {0}),
              IsOkAndHolds(0u));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory64, {0xc, 0}),
              IsOkAndHolds(0u));
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kIo, {1}),
              IsOkAndHolds(0u));
  EXPECT_THAT(BarSizeFromMask(BarIndex::Rom(), BarType::kMemory32, {1}),
              IsOkAndHolds(0u));
}

TEST(BarSizeFromMaskTest, MaskWithAHoleIsRefused) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(1), BarType::kMemory32, {0xfeffc000}),
              StatusIs(kInvalid, AllOf(HasSubstr("BAR1"),
                                       HasSubstr("0xfffffffffeffc000"))));
}

// Software sized only one half, so the upper register still holds the address
// and not the mask.
TEST(BarSizeFromMaskTest, HalfSized64BitMaskIsRefused) {
  EXPECT_THAT(BarSizeFromMask(BarIndex(0), BarType::kMemory64,
                              {0xffffc004, 0x0000001c}),
              StatusIs(kInvalid));
}

TEST(MakeBarTest, Memory32) {
  EXPECT_THAT(MakeBar(BarIndex(1), {.low = 0xfe820000}, 128 * kKiB),
              IsOkAndHolds(Bar{.index = BarIndex(1),
                               .type = BarType::kMemory32,
                               .size = 128 * kKiB,
                               .address = 0xfe820000}));
}

TEST(MakeBarTest, Memory64Prefetchable) {
  EXPECT_THAT(
      MakeBar(BarIndex(4), {.low = 0xfc40000c, .high = 0x18}, 16 * kKiB),
      IsOkAndHolds(Bar{.index = BarIndex(4),
                       .type = BarType::kMemory64,
                       .size = 16 * kKiB,
                       .prefetchable = true,
                       .address = 0x18fc400000}));
}

TEST(MakeBarTest, IoBitThreeIsAddressNotPrefetchable) {
  EXPECT_THAT(MakeBar(BarIndex(2), {.low = 0x0000c009}, 8),
              IsOkAndHolds(Bar{.index = BarIndex(2),
                               .type = BarType::kIo,
                               .size = 8,
                               .address = 0xc008}));
}

TEST(MakeBarTest, RomKeepsItsEnableBit) {
  EXPECT_THAT(MakeBar(BarIndex::Rom(), {.low = 0xfeb40001}, 256 * kKiB),
              IsOkAndHolds(Bar{.index = BarIndex::Rom(),
                               .size = 256 * kKiB,
                               .address = 0xfeb40000,
                               .rom_enabled = true}));
}

// Bits 3:0 of a ROM register are reserved, not a type.
TEST(MakeBarTest, RomHasNoType) {
  const absl::StatusOr<Bar> rom =
      MakeBar(BarIndex::Rom(), {.low = 0xfeb4000e}, 2 * kKiB);
  ASSERT_THAT(rom, IsOk());
  EXPECT_EQ(rom->type, BarType::kMemory32);
  EXPECT_FALSE(rom->prefetchable);
  EXPECT_FALSE(rom->rom_enabled);
}

TEST(MakeBarTest, RefusesASizeThatIsNoPowerOfTwo) {
  EXPECT_THAT(MakeBar(BarIndex(0), {}, 0x3000),
              StatusIs(kInvalid, HasSubstr("power of two")));
  EXPECT_THAT(MakeBar(BarIndex(0), {}, 0),
              StatusIs(kInvalid, HasSubstr("power of two")));
}

TEST(MakeBarTest, RefusesASizeThatTheTypeCannotHave) {
  EXPECT_THAT(MakeBar(BarIndex(0), {}, 8),
              StatusIs(kInvalid, HasSubstr("32-bit memory")));
  EXPECT_THAT(MakeBar(BarIndex(0), {}, 4 * kGiB),
              StatusIs(kInvalid, HasSubstr("32-bit memory")));
  EXPECT_THAT(MakeBar(BarIndex(0), {.low = 1}, 2),
              StatusIs(kInvalid, HasSubstr("I/O")));
  EXPECT_THAT(MakeBar(BarIndex::Rom(), {}, kKiB),
              StatusIs(kInvalid, HasSubstr("a ROM")));
}

TEST(MakeBarTest, RefusesA64BitBarWithoutUpperHalf) {
  EXPECT_THAT(MakeBar(BarIndex(5), {.low = 4}, 4 * kKiB),
              StatusIs(kInvalid, HasSubstr("BAR5")));
}

TEST(DecodeBarsTest, CapturedFunctions) {
  const std::vector<uint64_t> e1000e = {0x20000, 0x20000, 0x20, 0x4000,
                                        0,       0,       0};
  const auto bars = DecodeBars(CapturedE1000e().bytes(), e1000e);
  ASSERT_THAT(bars, IsOk());
  ASSERT_EQ(bars->size(), 4u);
  EXPECT_EQ(ToString((*bars)[0]), "BAR0: 32-bit memory, 128 KiB at 0xfe800000");
  EXPECT_EQ(ToString((*bars)[2]), "BAR2: I/O, 32 bytes at 0x0000d000");
  EXPECT_EQ(ToString((*bars)[3]), "BAR3: 32-bit memory, 16 KiB at 0xfe840000");

  const std::vector<uint64_t> virtio = {0, 0x1000, 0, 0, 0x4000, 0, 0};
  EXPECT_THAT(
      DecodeBars(CapturedVirtioNet().bytes(), virtio),
      IsOkAndHolds(ElementsAre(
          Bar{.index = BarIndex(1), .size = 0x1000, .address = 0xfe200000},
          Bar{.index = BarIndex(4),
              .type = BarType::kMemory64,
              .size = 0x4000,
              .prefetchable = true,
              .address = 0xfc400000})));
}

TEST(DecodeBarsTest, NoneImplemented) {
  EXPECT_THAT(DecodeBars(ConfigImage().bytes(), std::vector<uint64_t>(7)),
              IsOkAndHolds(IsEmpty()));
}

TEST(DecodeBarsTest, RefusesASizeForTheUpperHalf) {
  const std::vector<uint64_t> sizes = {0x4000, 0x4000, 0, 0, 0, 0, 0};
  EXPECT_THAT(DecodeBars(CapturedNvme().bytes(), sizes),
              StatusIs(kInvalid, AllOf(HasSubstr("BAR1"), HasSubstr("BAR0"))));
}

TEST(DecodeBarsTest, RefusesAnotherNumberOfSizes) {
  EXPECT_THAT(DecodeBars(CapturedNvme().bytes(), std::vector<uint64_t>(6)),
              StatusIs(kInvalid, HasSubstr("6 BAR sizes")));
}

TEST(DecodeBarsTest, RefusesAShortImage) {
  EXPECT_THAT(
      DecodeBars(CapturedNvme().bytes().first(63), std::vector<uint64_t>(7)),
      StatusIs(kInvalid, HasSubstr("63 bytes")));
}

TEST(DecodeBarsTest, RefusesABridge) {
  ConfigImage image;
  image.Set8(0x0e, 0x81);
  EXPECT_THAT(DecodeBars(image.bytes(), std::vector<uint64_t>(7)),
              StatusIs(kInvalid, HasSubstr("header type 1")));
}

TEST(DecodeBarsFromMasksTest, CapturedE1000e) {
  // What the registers read back after a write of all ones.
  const std::array<uint32_t, 7> read_back = {
      0xfffe0000, 0xfffe0000, 0xffffffe1, 0xffffc000, 0, 0, 0};
  const std::vector<uint64_t> sizes = {0x20000, 0x20000, 0x20, 0x4000, 0, 0, 0};
  const ConfigImage image = CapturedE1000e();
  const auto expected = DecodeBars(image.bytes(), sizes);
  ASSERT_THAT(expected, IsOk());
  EXPECT_THAT(DecodeBarsFromMasks(image.bytes(), read_back),
              IsOkAndHolds(*expected));
}

TEST(DecodeBarsFromMasksTest, UpperHalfIsNotABarOfItsOwn) {
  const std::array<uint32_t, 7> read_back = {0xffffc004, kAllOnes, 0, 0,
                                             0,          0,        0};
  EXPECT_THAT(DecodeBarsFromMasks(CapturedNvme().bytes(), read_back),
              IsOkAndHolds(ElementsAre(Bar{.index = BarIndex(0),
                                           .type = BarType::kMemory64,
                                           .size = 16 * kKiB,
                                           .address = 0xfe600000})));
}

TEST(DecodeBarsFromMasksTest, IoBarOfFourBytesDoesNotSwallowTheNext) {
  ConfigImage image;
  image.Set32(0x10, 0x0000c005).Set32(0x14, 0xfe000000);
  const std::array<uint32_t, 7> read_back = {0xfffffffd, 0xfffff000, 0, 0,
                                             0,          0,          0};
  EXPECT_THAT(
      DecodeBarsFromMasks(image.bytes(), read_back),
      IsOkAndHolds(ElementsAre(
          Bar{.index = BarIndex(0),
              .type = BarType::kIo,
              .size = 4,
              .address = 0xc004},
          Bar{.index = BarIndex(1), .size = 0x1000, .address = 0xfe000000})));
}

TEST(DecodeBarsFromMasksTest, RefusesAMaskWithAHole) {
  const std::array<uint32_t, 7> read_back = {0, 0, 0, 0, 0, 0, 0xff0fc001};
  EXPECT_THAT(DecodeBarsFromMasks(ConfigImage().bytes(), read_back),
              StatusIs(kInvalid, HasSubstr("ROM")));
}

TEST(DecodeBarsFromMasksTest, RefusesAnotherNumberOfMasks) {
  EXPECT_THAT(
      DecodeBarsFromMasks(ConfigImage().bytes(), std::vector<uint32_t>(6)),
      StatusIs(kInvalid, HasSubstr("6 BAR masks")));
}

TEST(DecodeBarsFromMasksTest, RefusesABridge) {
  ConfigImage image;
  image.Set8(0x0e, 0x01);
  EXPECT_THAT(DecodeBarsFromMasks(image.bytes(), std::vector<uint32_t>(7)),
              StatusIs(kInvalid, HasSubstr("header type 1")));
}

TEST(EncodeBarTest, FlagsStandBesideTheAddress) {
  Bar io = Io(32);
  io.address = 0xd000;
  EXPECT_EQ(EncodeBar(io), (BarRegister{.low = 0x0000d001}));

  Bar memory = Memory64(16 * kKiB);
  memory.prefetchable = true;
  memory.address = 0x18fc400000;
  EXPECT_EQ(EncodeBar(memory), (BarRegister{.low = 0xfc40000c, .high = 0x18}));

  Bar rom = Rom(2 * kKiB);
  rom.address = 0xfeb40000;
  EXPECT_EQ(EncodeBar(rom), (BarRegister{.low = 0xfeb40000}));
  rom.rom_enabled = true;
  EXPECT_EQ(EncodeBar(rom), (BarRegister{.low = 0xfeb40001}));
}

TEST(BarWriteMaskTest, AddressBitsFromTheSizeUp) {
  EXPECT_EQ(BarWriteMask(Io(4)), (BarRegister{.low = 0xfffffffc}));
  EXPECT_EQ(BarWriteMask(Memory32(0x4000)), (BarRegister{.low = 0xffffc000}));
  EXPECT_EQ(BarWriteMask(Memory64(0x4000)),
            (BarRegister{.low = 0xffffc000, .high = kAllOnes}));
  EXPECT_EQ(BarWriteMask(Memory64(8 * kGiB)),
            (BarRegister{.low = 0, .high = 0xfffffffe}));
  EXPECT_EQ(BarWriteMask(Rom(256 * kKiB)), (BarRegister{.low = 0xfffc0001}));
}

TEST(WithRegisterTest, TakesAddressAndRomEnable) {
  EXPECT_EQ(WithRegister(Memory32(0x1000), {.low = 0xfe001ff8}).address,
            0xfe001000u);
  EXPECT_EQ(
      WithRegister(Memory64(0x1000), {.low = 0xfe00100c, .high = 0x12}).address,
      0x12fe001000u);
  EXPECT_EQ(WithRegister(Io(4), {.low = 0xd005, .high = 0x12}).address,
            0xd004u);
  EXPECT_TRUE(WithRegister(Rom(0x800), {.low = 0xfe000801}).rom_enabled);
  EXPECT_EQ(WithRegister(Rom(0x800), {.low = 0xfe000801}).address, 0xfe000800u);
  EXPECT_FALSE(WithRegister(Memory32(0x1000), {.low = 0x1}).rom_enabled);
}

// Sizes BARs of every type and size as software does (PCI 3.0 6.2.5.1), through
// registers that only EncodeBar() and BarWriteMask() describe. Then it puts the
// address back, and nothing else may have changed.
TEST(BarPropertyTest, SizingThroughTheRegistersFindsTheBar) {
  std::mt19937_64 random(20240611);
  const auto check = [&](Bar bar) {
    ConfigSpace config(256);
    const auto low = RegisterOf(bar.index);
    const ConfigReg<uint32_t> high{static_cast<uint16_t>(low.offset + 4)};
    bar.address = random() & ~(bar.size - 1);
    if (!bar.is_64bit()) bar.address &= kAllOnes;
    const BarRegister value = EncodeBar(bar);
    const BarRegister mask = BarWriteMask(bar);
    config.Set(low, value.low);
    config.SetMask(low, mask.low);
    if (bar.is_64bit()) {
      config.Set(high, value.high);
      config.SetMask(high, mask.high);
    }
    const std::vector<uint8_t> ones(4, 0xff);
    config.Write(low.offset, ones);
    if (bar.is_64bit()) config.Write(high.offset, ones);
    std::array<uint32_t, 7> read_back{};
    read_back[bar.index.value()] = config.Get(low);
    if (bar.is_64bit()) read_back[bar.index.value() + 1u] = config.Get(high);

    ConfigSpace restored = config;
    restored.Set(low, value.low);
    if (bar.is_64bit()) restored.Set(high, value.high);
    EXPECT_THAT(DecodeBarsFromMasks(restored.bytes(), read_back),
                IsOkAndHolds(ElementsAre(bar)));
  };
  for (unsigned bit = 4; bit <= 63; ++bit) {
    for (const bool prefetchable : {false, true}) {
      Bar memory = Memory64(uint64_t{1} << bit);
      memory.prefetchable = prefetchable;
      check(memory);
      if (bit > 31) continue;
      memory = Memory32(uint64_t{1} << bit);
      memory.prefetchable = prefetchable;
      check(memory);
    }
  }
  for (unsigned bit = 2; bit <= 31; ++bit) check(Io(uint64_t{1} << bit));
  for (unsigned bit = 11; bit <= 31; ++bit) check(Rom(uint64_t{1} << bit));
}

TEST(ValidateBarAddressTest, TakesAlignedAddressesInReach) {
  EXPECT_THAT(ValidateBarAddress(Io(32), 0xffe0), IsOk());
  EXPECT_THAT(ValidateBarAddress(Memory32(0x1000), 0xfe000000), IsOk());
  EXPECT_THAT(ValidateBarAddress(Memory64(8 * kGiB), 0x7e00000000), IsOk());
  EXPECT_THAT(ValidateBarAddress(Memory64(0x1000), 0xfffff000), IsOk());
}

TEST(ValidateBarAddressTest, RefusesZero) {
  EXPECT_THAT(ValidateBarAddress(Memory32(0x1000), 0),
              StatusIs(kInvalid, HasSubstr("not assigned")));
}

TEST(ValidateBarAddressTest, RefusesMisalignment) {
  EXPECT_THAT(
      ValidateBarAddress(Memory32(0x4000), 0xfe001000),
      StatusIs(kInvalid, AllOf(HasSubstr("BAR0"), HasSubstr("0xfe001000"),
                               HasSubstr("multiple of its size"))));
}

TEST(ValidateBarAddressTest, RefusesIoBeyondThePortSpace) {
  EXPECT_THAT(ValidateBarAddress(Io(32), 0x10000),
              StatusIs(kInvalid, HasSubstr("port space")));
  // The value that the register holds while software sizes the BAR.
  EXPECT_THAT(ValidateBarAddress(Io(32), 0xffffffe0), StatusIs(kInvalid));
}

TEST(ValidateBarAddressTest, Refuses32BitBeyondFourGiB) {
  EXPECT_THAT(ValidateBarAddress(Memory32(0x1000), 4 * kGiB),
              StatusIs(kInvalid, HasSubstr("4 GiB")));
  EXPECT_THAT(ValidateBarAddress(Rom(0x1000), 4 * kGiB),
              StatusIs(kInvalid, HasSubstr("4 GiB")));
}

TEST(ValidateBarAddressTest, RefusesWhereSizingPutsIt) {
  EXPECT_THAT(ValidateBarAddress(Memory32(0x1000), 0xfffff000),
              StatusIs(kInvalid, HasSubstr("sizing")));
  EXPECT_THAT(ValidateBarAddress(Memory64(0x1000), ~uint64_t{0xfff}),
              StatusIs(kInvalid, HasSubstr("sizing")));
}

TEST(BarToStringTest, TellsWhatMatters) {
  Bar bar = Memory64(4 * kGiB);
  bar.prefetchable = true;
  bar.address = 0x3800000000;
  EXPECT_EQ(ToString(bar),
            "BAR0: 64-bit memory, prefetchable, 4 GiB at 0x3800000000");
  Bar rom = Rom(256 * kKiB);
  rom.address = 0xfeb40000;
  EXPECT_EQ(ToString(rom),
            "ROM: 32-bit memory, 256 KiB at 0xfeb40000, disabled");
  rom.rom_enabled = true;
  EXPECT_EQ(ToString(rom), "ROM: 32-bit memory, 256 KiB at 0xfeb40000");
}

}  // namespace
}  // namespace passthru::pci
