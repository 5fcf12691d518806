// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/registers.h"

#include <cstdint>

#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {
namespace {

TEST(RegistersTest, ReadACapturedHeader) {
  const ConfigImage image = CapturedE1000e();
  EXPECT_EQ(ReadRegister(image.bytes(), kVendorId), 0x8086);
  EXPECT_EQ(ReadRegister(image.bytes(), kDeviceId), 0x10d3);
  EXPECT_EQ(ReadRegister(image.bytes(), kBaseClass), 0x02);
  EXPECT_EQ(ReadRegister(image.bytes(), kBar3), 0xfe840000u);
  EXPECT_EQ(ReadRegister(image.bytes(), kSubsystemVendorId), 0x8086);
  EXPECT_EQ(ReadRegister(image.bytes(), kCapabilitiesPointer), 0xc8);
  EXPECT_EQ(ReadRegister(image.bytes(), kInterruptLine), 0x0b);
  EXPECT_EQ(ReadRegister(image.bytes(), kInterruptPin), 0x01);
  const Command command = ReadRegister(image.bytes(), kCommand);
  EXPECT_TRUE(Command::kIoSpace.Get(command));
  EXPECT_TRUE(Command::kMemorySpace.Get(command));
  EXPECT_FALSE(Command::kBusMaster.Get(command));
  EXPECT_TRUE(Command::kSerrEnable.Get(command));
  const Status status = ReadRegister(image.bytes(), kStatus);
  EXPECT_TRUE(Status::kCapabilitiesList.Get(status));
  EXPECT_FALSE(Status::kInterruptStatus.Get(status));
}

TEST(RegistersTest, HeaderTypeHasLayoutAndMultiFunction) {
  const HeaderType type{.raw = 0x81};
  EXPECT_TRUE(HeaderType::kMultiFunction.Get(type));
  EXPECT_EQ(HeaderType::kLayout.Get(type), HeaderType::kLayoutBridge);
}

// PCI 3.0 6.2.3. The error bits are the ones that a write of one clears.
TEST(RegistersTest, WriteOneToClearBitsOfStatusAreTheErrors) {
  const unsigned errors = Status::kDetectedParityError.Mask() |
                          Status::kSignaledSystemError.Mask() |
                          Status::kReceivedMasterAbort.Mask() |
                          Status::kReceivedTargetAbort.Mask() |
                          Status::kSignaledTargetAbort.Mask() |
                          Status::kMasterDataParityError.Mask();
  EXPECT_EQ(Status::kWriteOneToClear, errors);
}

}  // namespace
}  // namespace passthru::pci
