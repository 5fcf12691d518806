// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/root_port_config.h"

#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/class_code.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/pcie_port.h"
#include "passthru/pci/registers.h"

namespace passthru::root_port {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

pci::ConfigSpace Config(bool has_pin = true) {
  return MakeRootPortConfig(
      {.port_number = 3, .slot_number = 0x105, .has_pin = has_pin});
}

TEST(RootPortConfigTest, IsABridgeWithWellFormedLists) {
  const pci::ConfigSpace config = Config();
  EXPECT_EQ(pci::ClassCode::Read(config.bytes()),
            (pci::ClassCode{.base = 0x06, .sub = 0x04}));
  EXPECT_EQ(config.Get(pci::kHeaderType).raw, 0x01);
  const pci::CapabilityList list = pci::WalkCapabilities(config.bytes());
  EXPECT_EQ(list.malformed, "");
  std::vector<pci::CapabilityId> ids;
  for (const pci::Capability& entry : list.entries) ids.push_back(entry.id);
  EXPECT_THAT(ids, ElementsAre(pci::CapabilityId::kPowerManagement,
                               pci::CapabilityId::kMsi,
                               pci::CapabilityId::kPciExpress));
  const auto extended = pci::WalkExtendedCapabilities(config.bytes());
  EXPECT_EQ(extended.malformed, "");
  EXPECT_THAT(extended.entries, IsEmpty());
}

TEST(RootPortConfigTest, CapabilitiesParse) {
  const pci::ConfigSpace config = Config();
  const auto pcie = pci::PcieCapability::Parse(config.bytes(), kPcieOffset);
  ASSERT_THAT(pcie, IsOk());
  EXPECT_EQ(pcie->port_type(), pci::PciePortType::kRootPort);
  EXPECT_EQ(pcie->version(), 2);
  EXPECT_TRUE(pcie->slot_implemented());
  const auto msi = pci::MsiCapability::Parse(config.bytes(), kMsiOffset);
  ASSERT_THAT(msi, IsOk());
  EXPECT_EQ(msi->max_vectors(), 1);
  EXPECT_TRUE(msi->is_64bit());
  EXPECT_TRUE(msi->per_vector_masking());
  EXPECT_LE(kMsiOffset + msi->size(), kPcieOffset);
  EXPECT_THAT(pci::PowerManagementCapability::Parse(config.bytes(),
                                                    kPowerManagementOffset),
              IsOk());
}

// The features that Linux's pciehp logs at its start.
TEST(RootPortConfigTest, TheSlotHasButtonPowerAndIndicators) {
  const pci::ConfigSpace config = Config();
  const auto slot =
      config.Get(pci::PcieCapability::kSlotCapabilities.At(kPcieOffset));
  EXPECT_EQ(slot.raw, 0x0004007bu | 0x105u << 19);
  const auto link =
      config.Get(pci::PcieCapability::kLinkCapabilities.At(kPcieOffset));
  EXPECT_TRUE(pci::PcieLinkCapabilities::kLinkActiveReporting.Get(link));
  EXPECT_EQ(pci::PcieLinkCapabilities::kPortNumber.Get(link), 3u);
}

TEST(RootPortConfigTest, AnEmptySlotIsOffAfterPowerOn) {
  const pci::ConfigSpace config = Config();
  EXPECT_EQ(config.Get(kSlotControl).raw, 0x07c0);
  EXPECT_EQ(config.Get(kSlotStatus).raw, 0);
  EXPECT_FALSE(pci::PcieLinkStatus::kLinkActive.Get(config.Get(kLinkStatus)));
}

TEST(RootPortConfigTest, AllWindowsAreClosedAfterPowerOn) {
  EXPECT_EQ(pci::BridgeWindows::Read(Config().bytes()), pci::BridgeWindows());
}

TEST(RootPortConfigTest, ThePinIsThereIfItIsWired) {
  EXPECT_EQ(Config(true).Get(pci::kInterruptPin), 1);
  EXPECT_EQ(Config(false).Get(pci::kInterruptPin), 0);
}

// Each register that a guest can write, with the bits that it can. A read-only
// bit that becomes writable shows up here.
TEST(RootPortConfigTest, AGuestWritesTheseBitsAndNoOthers) {
  struct {
    uint16_t offset;
    uint32_t mask;
  } const kWritable[] = {
      {0x04, 0x00000547},  // Command
      {0x0c, 0x000000ff},  // Cache Line Size
      {0x18, 0x00ffffff},  // bus numbers
      {0x1c, 0x0000f0f0},  // I/O window
      {0x20, 0xfff0fff0},  // memory window
      {0x24, 0xfff0fff0},  // prefetchable window
      {0x28, 0xffffffff}, {0x2c, 0xffffffff},
      {0x3c, 0x004700ff},  // Bridge Control and Interrupt Line
      {0x44, 0x00000003},  // power state
      {0x48, 0x00710000},  // MSI's Message Control
      {0x4c, 0xfffffffc}, {0x50, 0xffffffff},
      {0x54, 0x0000ffff}, {0x58, 0x00000001},  // MSI's mask
      {0x68, 0x000078ff},                      // Device Control
      {0x70, 0x000000d3},                      // Link Control
      {0x78, 0x000017eb},                      // Slot Control
      {0x7c, 0x0000000f},                      // Root Control
      {0x90, 0x0000000f},                      // Link Control 2
  };
  const pci::ConfigSpace config = Config();
  for (uint16_t offset = 0; offset < 4096; offset += 4) {
    uint32_t expected = 0;
    for (const auto& writable : kWritable) {
      if (writable.offset == offset) expected = writable.mask;
    }
    EXPECT_EQ(config.GetMask(pci::ConfigReg<uint32_t>{offset}), expected)
        << offset;
  }
}

}  // namespace
}  // namespace passthru::root_port
