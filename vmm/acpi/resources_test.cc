// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/resources.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vmm::acpi {
namespace {

using ::testing::ElementsAre;

TEST(ResourcesTest, SmallDescriptors) {
  EXPECT_THAT(Io(0x3f8, 8), ElementsAre(0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8));
  EXPECT_THAT(Irq(4), ElementsAre(0x22, 0x10, 0));
  EXPECT_THAT(ResourceTemplate({Irq(4)}),
              ElementsAre(0x11, 8, 0x0a, 5, 0x22, 0x10, 0, 0x79, 0));
}

TEST(ResourcesTest, Memory) {
  EXPECT_THAT(Memory32Fixed(0xb0000000, 0x10000000),
              ElementsAre(0x86, 9, 0, 1, 0, 0, 0, 0xb0, 0, 0, 0, 0x10));
}

TEST(ResourcesTest, Windows) {
  EXPECT_THAT(WordBusNumber(0, 0xff),
              ElementsAre(0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 0xff, 0, 0, 0,
                          0x00, 0x01));
  EXPECT_THAT(WordIo(0xd00, 0xffff),
              ElementsAre(0x88, 13, 0, 1, 0x0c, 3, 0, 0, 0, 0x0d, 0xff, 0xff, 0,
                          0, 0x00, 0xf3));
  EXPECT_THAT(
      DWordMemory(0xc0000000, 0xfebfffff),
      ElementsAre(0x87, 23, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff,
                  0xff, 0xbf, 0xfe, 0, 0, 0, 0, 0, 0, 0xc0, 0x3e));
  EXPECT_THAT(QWordMemory(0x100000000, 0x1ffffffff),
              ElementsAre(0x8a, 43, 0, 0, 0x0c, 1,             //
                          0, 0, 0, 0, 0, 0, 0, 0,              //
                          0, 0, 0, 0, 1, 0, 0, 0,              //
                          0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0,  //
                          0, 0, 0, 0, 0, 0, 0, 0,              //
                          0, 0, 0, 0, 1, 0, 0, 0));
}

}  // namespace
}  // namespace passthru::vmm::acpi
