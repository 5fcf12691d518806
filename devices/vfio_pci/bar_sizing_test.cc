// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_sizing.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {
namespace {

class BarSizingTest : public ::testing::Test {
 protected:
  void Write(uint16_t offset, const std::vector<uint8_t>& bytes) {
    sizing_.OnWrite(offset, bytes, bars_);
  }
  bool IsSized(uint8_t index) const {
    return sizing_.IsSized(pci::BarIndex(index));
  }

  const std::vector<uint8_t> kOnes = {0xff, 0xff, 0xff, 0xff};
  const std::vector<uint8_t> kAddress = {0x0c, 0x00, 0x00, 0xfe};
  const std::vector<pci::Bar> bars_ = {{.index = pci::BarIndex(0),
                                        .type = pci::BarType::kMemory64,
                                        .size = 0x4000},
                                       {.index = pci::BarIndex(2),
                                        .type = pci::BarType::kMemory32,
                                        .size = 0x4000},
                                       {.index = pci::BarIndex(4),
                                        .type = pci::BarType::kMemory64,
                                        .size = 0x4000}};
  BarSizing sizing_;
};

TEST_F(BarSizingTest, AllOnesInTheLowerHalfUntilTheNextWrite) {
  EXPECT_FALSE(IsSized(0));
  Write(0x10, kOnes);
  EXPECT_TRUE(IsSized(0));
  EXPECT_FALSE(IsSized(4));
  Write(0x10, kAddress);
  EXPECT_FALSE(IsSized(0));
}

TEST_F(BarSizingTest, TheUpperHalfDoesNotCount) {
  Write(0x14, kOnes);
  EXPECT_FALSE(IsSized(0));
  Write(0x10, kOnes);
  Write(0x14, kOnes);
  EXPECT_TRUE(IsSized(0)) << "the lower half still holds all ones";
}

// The register of such a BAR holds the highest place, which is none.
TEST_F(BarSizingTest, A32BitBarNeedsNoHelp) {
  Write(0x18, kOnes);
  EXPECT_FALSE(IsSized(2));
}

TEST_F(BarSizingTest, OtherWritesDoNotCount) {
  Write(0x20, kOnes);
  Write(0x04, {0xff, 0xff});
  EXPECT_TRUE(IsSized(4));
  Write(0x23, {0xff});
  EXPECT_FALSE(IsSized(4)) << "a part of an address";
}

// Firmware may place a BAR at the end of 4 GiB.
TEST_F(BarSizingTest, AnAddressWithTheFlagsOfItsTypeIsNotASize) {
  Write(0x10, {0x0c, 0xff, 0xff, 0xff});
  EXPECT_FALSE(IsSized(0));
  Write(0x10, {0x00, 0xc0, 0xff, 0xff});
  EXPECT_FALSE(IsSized(0));
}

TEST_F(BarSizingTest, AnAddressThatComesByAnotherWayEndsIt) {
  Write(0x10, kOnes);
  sizing_.Clear(pci::BarIndex(0));
  EXPECT_FALSE(IsSized(0));
}

}  // namespace
}  // namespace passthru::vfio_pci
