// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/class_code.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

TEST(ClassCodeTest, ReadsThreeBytes) {
  EXPECT_EQ(ClassCode::Read(CapturedNvme().bytes()),
            (ClassCode{.base = 0x01, .sub = 0x08, .interface = 0x02}));
}

TEST(ClassCodeTest, PrintsSixDigits) {
  EXPECT_EQ(
      absl::StrCat(ClassCode{.base = 0x01, .sub = 0x08, .interface = 0x02}),
      "010802");
}

TEST(ClassCodeTest, IsNamedAsPreciselyAsTheCodeSays) {
  EXPECT_EQ(Name(ClassCode{0x01, 0x08, 0x02}), "NVMe controller");
  EXPECT_EQ(Name(ClassCode{0x01, 0x08, 0x7f}),
            "Non-volatile memory controller");
  EXPECT_EQ(Name(ClassCode{0x01, 0x7f, 0x00}), "Mass storage controller");
  EXPECT_EQ(Name(ClassCode{0x77, 0x00, 0x00}), "Unknown class");
}

TEST(ClassCodeTest, WellKnownClasses) {
  EXPECT_EQ(Name(ClassCode{0x02, 0x00, 0x00}), "Ethernet controller");
  EXPECT_EQ(Name(ClassCode{0x03, 0x02, 0x00}), "3D controller");
  EXPECT_EQ(Name(ClassCode{0x06, 0x00, 0x00}), "Host bridge");
  EXPECT_EQ(Name(ClassCode{0x0c, 0x03, 0x30}), "xHCI USB controller");
  EXPECT_EQ(Name(ClassCode{0x12, 0x00, 0x00}), "Processing accelerator");
}

TEST(ClassCodeTest, EveryAssignedBaseClassHasAName) {
  for (unsigned base = 0; base <= 0x13; ++base) {
    EXPECT_NE(Name(ClassCode{static_cast<uint8_t>(base), 0x7f, 0}),
              "Unknown class")
        << base;
  }
}

}  // namespace
}  // namespace passthru::pci
