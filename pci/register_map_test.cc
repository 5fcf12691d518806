// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/register_map.h"

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

// A function with MSI (64 bits, masks) at 0x50, which is followed by MSI-X at
// 0x60, and AER at 0x100.
std::vector<uint8_t> FunctionWithLists() {
  std::vector<uint8_t> config(4096);
  config[0x06] = 0x10;
  config[0x34] = 0x50;
  config[0x50] = 0x05;
  config[0x51] = 0x70;
  config[0x52] = 0x80;
  config[0x53] = 0x01;
  config[0x70] = 0x11;
  config[0x100] = 0x01;
  config[0x102] = 0x01;
  return config;
}

const NamedRegister* RegisterAt(const std::vector<NamedRegister>& registers,
                                uint16_t offset) {
  for (const NamedRegister& reg : registers) {
    if (reg.offset == offset) return &reg;
  }
  return nullptr;
}

// Expects that each byte is in exactly one register.
void ExpectWithoutGaps(const std::vector<NamedRegister>& registers,
                       size_t size) {
  size_t next = 0;
  for (const NamedRegister& reg : registers) {
    ASSERT_EQ(reg.offset, next) << reg.group << " " << reg.name;
    ASSERT_TRUE(reg.size == 1 || reg.size == 2 || reg.size == 4);
    next += reg.size;
  }
  EXPECT_EQ(next, size);
}

TEST(RegisterMapTest, NamesTheRegistersOfTheLists) {
  const std::vector<NamedRegister> registers =
      ListRegisters(FunctionWithLists());
  ExpectWithoutGaps(registers, 4096);
  EXPECT_EQ(*RegisterAt(registers, 0x04), (NamedRegister{.offset = 4,
                                                         .size = 2,
                                                         .group = "Header",
                                                         .group_offset = 0,
                                                         .name = "Command"}));
  EXPECT_EQ(RegisterAt(registers, 0x58)->name, "Upper Address");
  EXPECT_EQ(RegisterAt(registers, 0x60)->name, "Mask bits");
  EXPECT_EQ(RegisterAt(registers, 0x60)->group, "MSI");
  EXPECT_EQ(RegisterAt(registers, 0x60)->group_offset, 0x50);
  EXPECT_EQ(RegisterAt(registers, 0x72)->name, "Message Control");
  EXPECT_EQ(RegisterAt(registers, 0x104)->name, "Uncorrectable Status");
  EXPECT_EQ(RegisterAt(registers, 0x80)->group, "");
}

TEST(RegisterMapTest, WideBarTakesTheNextRegister) {
  std::vector<uint8_t> config = FunctionWithLists();
  config[0x14] = 0x0c;
  const std::vector<NamedRegister> registers = ListRegisters(config);
  EXPECT_EQ(RegisterAt(registers, 0x14)->name, "BAR1");
  EXPECT_EQ(RegisterAt(registers, 0x18)->name, "BAR1 upper half");
  EXPECT_EQ(RegisterAt(registers, 0x1c)->name, "BAR3");
}

TEST(RegisterMapTest, ShortSpaceHasNoExtendedRegisters) {
  std::vector<uint8_t> config = FunctionWithLists();
  config.resize(256);
  ExpectWithoutGaps(ListRegisters(config), 256);
}

// Lists that overlap or go anywhere leave no gaps.
TEST(RegisterMapTest, AnyContentsLeaveNoGaps) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<uint8_t> config(round % 2 == 0 ? 256 : 4096);
    for (uint8_t& byte : config) byte = static_cast<uint8_t>(random());
    config[0x06] |= 0x10;
    config[0x0e] = 0;
    ExpectWithoutGaps(ListRegisters(config), config.size());
  }
}

}  // namespace
}  // namespace passthru::pci
