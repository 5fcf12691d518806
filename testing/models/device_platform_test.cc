// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/device_platform.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/pci/little_endian.h"

namespace passthru::models {
namespace {

class ConfigHost final : public DevicePlatform {
 public:
  absl::Status DmaRead(uint64_t, absl::Span<uint8_t>) override {
    return absl::OkStatus();
  }
  absl::Status DmaWrite(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }
  void RaiseMsix(uint16_t) override {}
  void RaiseMsi(uint16_t) override {}
  void SetIntx(bool) override {}
  uint32_t ReadConfig(uint16_t offset, unsigned width) override {
    const uint32_t value = pci::LoadLittleEndian<uint32_t>(config, offset);
    return width == 4 ? value : value & ((1u << (8 * width)) - 1);
  }

  std::array<uint8_t, 256> config{};
};

class ReadInterruptModeTest : public ::testing::Test {
 protected:
  ReadInterruptModeTest() {
    host_.config[0x06] = 0x10;
    host_.config[0x34] = 0x40;
  }
  void SetCapability(uint8_t at, uint8_t id, uint8_t next, uint16_t control) {
    host_.config[at] = id;
    host_.config[at + 1] = next;
    pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(host_.config), at + 2,
                                     control);
  }

  ConfigHost host_;
};

TEST_F(ReadInterruptModeTest, PinWhenNothingIsEnabled) {
  SetCapability(0x40, 0x11, 0x60, 0x0040);
  SetCapability(0x60, 0x05, 0x00, 0x0080);
  EXPECT_EQ(host_.ReadInterruptMode(), InterruptMode::kIntx);
}

TEST_F(ReadInterruptModeTest, MsiAndMsixByTheirEnableBits) {
  SetCapability(0x40, 0x05, 0x60, 0x0081);
  SetCapability(0x60, 0x11, 0x00, 0x0040);
  EXPECT_EQ(host_.ReadInterruptMode(), InterruptMode::kMsi);
  SetCapability(0x40, 0x05, 0x60, 0x0080);
  SetCapability(0x60, 0x11, 0x00, 0x8040);
  EXPECT_EQ(host_.ReadInterruptMode(), InterruptMode::kMsix);
}

TEST_F(ReadInterruptModeTest, PinWithoutACapabilityList) {
  SetCapability(0x40, 0x05, 0x00, 0x0081);
  host_.config[0x06] = 0;
  EXPECT_EQ(host_.ReadInterruptMode(), InterruptMode::kIntx);
}

TEST_F(ReadInterruptModeTest, EndsOnAListThatIsACycle) {
  SetCapability(0x40, 0x01, 0x60, 0);
  SetCapability(0x60, 0x09, 0x40, 0);
  EXPECT_EQ(host_.ReadInterruptMode(), InterruptMode::kIntx);
}

TEST_F(ReadInterruptModeTest, EndsOnAnyContents) {
  for (int value = 0; value < 256; ++value) {
    host_.config.fill(static_cast<uint8_t>(value));
    host_.ReadInterruptMode();
  }
}

TEST(UnconnectedHostTest, RefusesDmaAndReadsAllOnes) {
  UnconnectedHost host;
  std::array<uint8_t, 4> bytes{};
  EXPECT_FALSE(host.DmaRead(0, absl::MakeSpan(bytes)).ok());
  EXPECT_FALSE(host.DmaWrite(0, bytes).ok());
  EXPECT_EQ(host.ReadConfig(0, 4), 0xffffffffu);
  EXPECT_EQ(host.ReadInterruptMode(), InterruptMode::kIntx);
}

}  // namespace
}  // namespace passthru::models
