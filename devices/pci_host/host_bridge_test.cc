// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/host_bridge.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace passthru::pci_host {
namespace {

TEST(HostBridgeTest, IsTheHostBridgeThatGuestsKnow) {
  HostBridge bridge;
  EXPECT_EQ(bridge.ConfigRead(0x00, 4), 0x29c08086u);
  EXPECT_EQ(bridge.ConfigRead(0x08, 4) >> 8, 0x060000u);
  EXPECT_EQ(bridge.ConfigRead(0x0e, 1), 0x00u);
}

TEST(HostBridgeTest, HasNoBarNoCapabilityNoInterrupt) {
  HostBridge bridge;
  for (uint16_t offset = 0x10; offset < 0x28; offset += 4) {
    bridge.ConfigWrite(offset, {0xff, 0xff, 0xff, 0xff});
    EXPECT_EQ(bridge.ConfigRead(offset, 4), 0u) << offset;
  }
  EXPECT_EQ(bridge.ConfigRead(0x06, 2), 0u);
  EXPECT_EQ(bridge.ConfigRead(0x34, 1), 0u);
  EXPECT_EQ(bridge.ConfigRead(0x3d, 1), 0u);
}

TEST(HostBridgeTest, OnlyTheCommandRegisterCanBeWritten) {
  HostBridge bridge;
  std::vector<uint32_t> before;
  for (uint16_t offset = 0; offset < 256; ++offset)
    before.push_back(bridge.ConfigRead(offset, 1));
  for (uint16_t offset = 0; offset < 256; ++offset)
    bridge.ConfigWrite(offset, {static_cast<uint8_t>(~before[offset])});
  for (uint16_t offset = 0; offset < 256; ++offset) {
    if (offset == 4 || offset == 5) continue;
    EXPECT_EQ(bridge.ConfigRead(offset, 1), before[offset]) << offset;
  }
  // The bits are INTx disable, SERR, parity, bus master, memory and I/O.
  EXPECT_EQ(bridge.ConfigRead(0x04, 2), 0x0547u);
  bridge.ConfigWrite(0x04, {0x02, 0x00});
  EXPECT_EQ(bridge.ConfigRead(0x04, 2), 0x0002u);
}

// There is no extended space. An all-ones header at 0x100, like an all-zero
// one, ends a walk of the extended capabilities.
TEST(HostBridgeTest, HasNoExtendedSpace) {
  HostBridge bridge;
  EXPECT_EQ(bridge.ConfigRead(0x100, 4), 0xffffffffu);
  bridge.ConfigWrite(0xffc, {1, 2, 3, 4});
  EXPECT_EQ(bridge.ConfigRead(0xffc, 4), 0xffffffffu);
}

}  // namespace
}  // namespace passthru::pci_host
