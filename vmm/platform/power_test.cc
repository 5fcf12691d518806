// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/power.h"

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

using ::testing::ElementsAre;

class PowerRegistersTest : public ::testing::Test {
 protected:
  void Write(uint64_t offset, const std::vector<uint8_t>& bytes) {
    EXPECT_TRUE(registers_.Write(offset, bytes).ok());
  }
  std::vector<uint8_t> Read(uint64_t offset, size_t size) {
    std::vector<uint8_t> bytes(size);
    EXPECT_TRUE(registers_.Read(offset, absl::MakeSpan(bytes)).ok());
    return bytes;
  }

  int power_offs_ = 0;
  PowerRegisters registers_{[this] { ++power_offs_; }};
};

TEST_F(PowerRegistersTest, SleepingInS5TurnsThePowerOff) {
  Write(4, {0x01, kSleepTypeS5 << 2});
  EXPECT_EQ(power_offs_, 0) << "SLP_EN is not set";
  EXPECT_THAT(Read(4, 2), ElementsAre(0x01, kSleepTypeS5 << 2));
  Write(4, {0x01, kSleepTypeS5 << 2 | 1 << 5});
  EXPECT_EQ(power_offs_, 1);
  EXPECT_THAT(Read(4, 2), ElementsAre(0x01, kSleepTypeS5 << 2))
      << "SLP_EN reads 0";
}

TEST_F(PowerRegistersTest, OtherTypesOfSleepAndPartsOfRegistersDoNothing) {
  Write(4, {0x01, 1 << 2 | 1 << 5});
  Write(5, {kSleepTypeS5 << 2 | 1 << 5});
  Write(2, {0x00, kSleepTypeS5 << 2 | 1 << 5});
  Write(0, {0, 0, 0, 0, 0, kSleepTypeS5 << 2 | 1 << 5});
  EXPECT_EQ(power_offs_, 0);
}

TEST_F(PowerRegistersTest, EventsAreEnabledAndNeverOccur) {
  Write(2, {0x21, 0x01});
  Write(0, {0xff, 0xff});
  EXPECT_THAT(Read(0, 4), ElementsAre(0, 0, 0x21, 0x01));
  EXPECT_THAT(Read(4, 4), ElementsAre(0x01, 0, 0xff, 0xff))
      << "the machine is in ACPI mode";
}

TEST(KeyboardControllerTest, OnlyThePulseResets) {
  int resets = 0;
  KeyboardController controller([&resets] { ++resets; });
  std::vector<uint8_t> byte = {0xaa};
  EXPECT_TRUE(controller.Read(0, absl::MakeSpan(byte)).ok());
  EXPECT_EQ(byte[0], 0);
  byte[0] = 0xd1;
  EXPECT_TRUE(controller.Write(0, byte).ok());
  EXPECT_EQ(resets, 0);
  byte[0] = 0xfe;
  EXPECT_TRUE(controller.Write(0, byte).ok());
  EXPECT_EQ(resets, 1);
}

}  // namespace
}  // namespace passthru::vmm
