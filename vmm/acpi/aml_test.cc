// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/aml.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vmm::acpi {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// The expected bytes were written by hand from ACPI 6.5, chapter 20.

TEST(AmlTest, IntegersTakeTheShortestForm) {
  EXPECT_THAT(Integer(0), ElementsAre(0x00));
  EXPECT_THAT(Integer(1), ElementsAre(0x01));
  EXPECT_THAT(Integer(2), ElementsAre(0x0a, 2));
  EXPECT_THAT(Integer(0xff), ElementsAre(0x0a, 0xff));
  EXPECT_THAT(Integer(0x100), ElementsAre(0x0b, 0x00, 0x01));
  EXPECT_THAT(Integer(0x12345), ElementsAre(0x0c, 0x45, 0x23, 0x01, 0x00));
  EXPECT_THAT(Integer(uint64_t{1} << 32),
              ElementsAre(0x0e, 0, 0, 0, 0, 1, 0, 0, 0));
}

TEST(AmlTest, EisaIdIsCompressed) {
  EXPECT_THAT(EisaId("PNP0A08"), ElementsAre(0x0c, 0x41, 0xd0, 0x0a, 0x08));
  EXPECT_THAT(EisaId("PNP0C02"), ElementsAre(0x0c, 0x41, 0xd0, 0x0c, 0x02));
}

TEST(AmlTest, UuidHasItsFirstThreeFieldsReversed) {
  EXPECT_THAT(ToUuid("00010203-0405-0607-0809-0a0b0c0d0e0f"),
              ElementsAre(0x11, 19, 0x0a, 16, 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10,
                          11, 12, 13, 14, 15));
}

TEST(AmlTest, NamesAndPackages) {
  EXPECT_THAT(
      Name("\\_S5_", Package({Integer(5), Integer(0)})),
      ElementsAre(0x08, '\\', '_', 'S', '5', '_', 0x12, 5, 2, 0x0a, 5, 0x00));
}

TEST(AmlTest, LengthsOfOneToThreeBytes) {
  // With the size of the buffer, its term has 62 more bytes than its content.
  const auto buffer = [](size_t size) {
    return Buffer(std::vector<uint8_t>(size, 0xaa));
  };
  const Aml one = buffer(60);  // 2 for the size, 1 for the length
  EXPECT_EQ(one[0], 0x11);
  EXPECT_EQ(one[1], 63);
  EXPECT_EQ(one.size(), 64u);
  const Aml two = buffer(61);  // no longer 6 bits
  EXPECT_EQ(two[1], 0x40 | (65 & 0xf));
  EXPECT_EQ(two[2], 65 >> 4);
  EXPECT_EQ(two.size(), 66u);
  const Aml last_of_two = buffer(0xfff - 2 - 3);
  EXPECT_EQ(last_of_two[1], 0x4f);
  EXPECT_EQ(last_of_two[2], 0xff);
  EXPECT_EQ(last_of_two.size(), 0x1000u);
  const Aml three = buffer(0xfff - 2 - 2);
  EXPECT_EQ(three[1] >> 6, 2);
  EXPECT_EQ((three[1] & 0xf) | three[2] << 4 | three[3] << 12, 0x1001);
  EXPECT_EQ(three.size(), 0x1002u);
}

TEST(AmlTest, MethodWithStatements) {
  EXPECT_THAT(
      Method("TEST", 2,
             {If(LNotEqual(Arg(1), Integer(1)), {Store(Arg(0), Local(0))}),
              Else({And(Arg(0), Arg(1), Local(0))}), Return(Local(0))}),
      ElementsAreArray(std::vector<int>{
          0x14, 23,   'T',  'E',  'S',  'T',  0x0a,  // 2 arguments, serialized
          0xa0, 8,    0x92, 0x93, 0x69, 0x01,        // If (!(Arg1 == 1))
          0x70, 0x68, 0x60,                          // Local0 = Arg0
          0xa1, 5,    0x7b, 0x68, 0x69, 0x60,        // Local0 = Arg0 & Arg1
          0xa4, 0x60,                                // Return (Local0)
      }));
}

TEST(AmlTest, DevicesFieldsAndScopes) {
  EXPECT_THAT(
      Scope("\\_SB_", {Device("DEV0", {CreateDWordField(Arg(3), 8, "CDW3")})}),
      ElementsAre(0x10, 21, '\\', '_', 'S', 'B', '_', 0x5b, 0x82, 13, 'D', 'E',
                  'V', '0', 0x8a, 0x6b, 0x0a, 8, 'C', 'D', 'W', '3'));
  EXPECT_THAT(
      Or(Reference("CDW1"), Integer(4), Reference("CDW1")),
      ElementsAre(0x7d, 'C', 'D', 'W', '1', 0x0a, 4, 'C', 'D', 'W', '1'));
}

}  // namespace
}  // namespace passthru::vmm::acpi
