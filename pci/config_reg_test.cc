// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/config_reg.h"

#include <array>
#include <cstdint>
#include <type_traits>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

static_assert(std::is_same_v<RawOf<uint8_t>, uint8_t>);
static_assert(std::is_same_v<RawOf<Command>, uint16_t>);
static_assert(kCommand.size() == 2 && kBar0.size() == 4 &&
              kHeaderType.size() == 1);

TEST(ConfigRegTest, ReadsWithItsOwnWidth) {
  std::array<uint8_t, 8> bytes = {0x86, 0x80, 0xd3, 0x10, 0x06, 0x04, 0, 0};
  EXPECT_EQ(ReadRegister(bytes, kVendorId), 0x8086);
  EXPECT_EQ(ReadRegister(bytes, kDeviceId), 0x10d3);
  const Command command = ReadRegister(bytes, kCommand);
  EXPECT_TRUE(Command::kBusMaster.Get(command));
  EXPECT_TRUE(Command::kInterruptDisable.Get(command));
  EXPECT_FALSE(Command::kIoSpace.Get(command));
}

TEST(ConfigRegTest, WritesWithItsOwnWidth) {
  std::array<uint8_t, 8> bytes{};
  WriteRegister(absl::MakeSpan(bytes), kCommand, Command{.raw = 0x0506});
  EXPECT_EQ(bytes, (std::array<uint8_t, 8>{0, 0, 0, 0, 0x06, 0x05, 0, 0}));
}

TEST(ConfigRegTest, AtMovesACapabilitysRegister) {
  constexpr ConfigReg<uint16_t> kControl{0x02};
  EXPECT_EQ(kControl.At(0xd0).offset, 0xd2);
}

TEST(ConfigRegTest, ReadsAllOnesBeyondTheImage) {
  const std::array<uint8_t, 4> bytes{};
  EXPECT_EQ(ReadRegister(bytes, kStatus).raw, 0xffff);
}

}  // namespace
}  // namespace passthru::pci
