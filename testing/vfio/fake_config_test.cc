// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_config.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/rig/vfio_user.h"
#include "passthru/testing/vfio/config_permissions.h"

namespace passthru::fake {
namespace {

using ::testing::ElementsAre;

// The bits of a device's registers that a write through VFIO changed on Linux
// 6.12, measured bit by bit. No bit of a register that is not listed changed.
struct MeasuredRange {
  uint32_t first;
  uint32_t end;
  uint32_t mask;  // Of each dword in the range.
};
struct Measured {
  const char* fixture;
  std::vector<MeasuredRange> ranges;
};

const Measured kMeasured[] = {
    {"nvme",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x014, 0xffffc000},
      {0x014, 0x018, 0xffffffff},
      {0x03c, 0x040, 0x000000ff},
      {0x04c, 0x060, 0xffffffff},
      {0x068, 0x080, 0xffffffff},
      {0x088, 0x08c, 0x000070ef},
      {0x0a8, 0x0ac, 0x00008000},
      {0x0bc, 0x100, 0xffffffff},
      {0x104, 0x1000, 0xffffffff}}},
    {"edu",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x014, 0xfff00000},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x044, 0x008e0000},
      {0x044, 0x100, 0xffffffff}}},
    {"e1000e",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x018, 0xfffe0000},
      {0x018, 0x01c, 0xffffffe0},
      {0x01c, 0x020, 0xffffc000},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x0a0, 0xffffffff},
      {0x0ac, 0x0c8, 0xffffffff},
      {0x0cc, 0x0d0, 0x00001e00},
      {0x0d0, 0x0d4, 0x008e0000},
      {0x0d4, 0x0e0, 0xffffffff},
      {0x0e8, 0x0ec, 0x000070e0},
      {0x0f4, 0x100, 0xffffffff},
      {0x10c, 0x110, 0x03fff030},
      {0x114, 0x118, 0x0000f1c1},
      {0x118, 0x11c, 0x00000140},
      {0x14c, 0x1000, 0xffffffff}}},
    {"rtl8139",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x018, 0xffffff00},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x100, 0xffffffff}}},
    {"xhci",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x014, 0xffffc000},
      {0x014, 0x018, 0xffffffff},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x090, 0xffffffff},
      {0x09c, 0x0a0, 0xffffffff},
      {0x0a8, 0x0ac, 0x000070e0},
      {0x0c8, 0x0cc, 0x00008000},
      {0x0dc, 0x100, 0xffffffff},
      {0x104, 0x1000, 0xffffffff}}},
    {"virtio_net",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x014, 0x018, 0xfffff000},
      {0x020, 0x024, 0xffffc000},
      {0x024, 0x028, 0xffffffff},
      {0x03c, 0x040, 0x000000ff},
      {0x048, 0x04c, 0x000070ef},
      {0x068, 0x06c, 0x00008000},
      {0x0cc, 0x0d0, 0x000000ff},
      {0x0d0, 0x0dc, 0xffffffff},
      {0x0e8, 0x100, 0xffffffff},
      {0x108, 0x1000, 0xffffffff}}},
    {"ich9_ahci",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x020, 0x024, 0xffffffe0},
      {0x024, 0x028, 0xfffff000},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x080, 0xffffffff},
      {0x080, 0x084, 0x008e0000},
      {0x084, 0x0a8, 0xffffffff},
      {0x0b0, 0x100, 0xffffffff}}},
    {"e1000",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x014, 0xfffe0000},
      {0x014, 0x018, 0xffffffc0},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x100, 0xffffffff}}},
    {"ivshmem",
     {{0x004, 0x008, 0x00000507},
      {0x00c, 0x010, 0x000000ff},
      {0x010, 0x014, 0xffffff00},
      {0x018, 0x01c, 0xffc00000},
      {0x01c, 0x020, 0xffffffff},
      {0x03c, 0x040, 0x000000ff},
      {0x040, 0x100, 0xffffffff}}},
};

void PrintTo(const Measured& measured, std::ostream* out) {
  *out << measured.fixture;
}

class MeasuredMaskTest : public VfioDeviceTest,
                         public ::testing::WithParamInterface<Measured> {};

TEST_P(MeasuredMaskTest, WritableBitsAreThoseOfLinux) {
  Start(LoadDevice(GetParam().fixture));
  std::map<uint32_t, uint32_t> expected;
  for (const MeasuredRange& range : GetParam().ranges) {
    for (uint32_t at = range.first; at < range.end; at += 4) {
      expected[at] = range.mask;
    }
  }
  const fixture::PciDevice device = LoadDevice(GetParam().fixture);
  const auto power = fixture::FindCapability(
      fixture::ExpandConfig(device).bytes, PCI_CAP_ID_PM);
  std::vector<std::string> wrong;
  for (uint32_t at = 0; at < device.config_space_size(); at += 4) {
    const uint32_t original = user().ReadConfig(at, 4);
    user().WriteConfig(at, 4, ~0u);
    const uint32_t ones = user().ReadConfig(at, 4);
    user().WriteConfig(at, 4, 0);
    const uint32_t zeros = user().ReadConfig(at, 4);
    user().WriteConfig(at, 4, original);
    uint32_t mask = ones ^ zeros;
    // The measurement left out the power state.
    if (power.has_value() && at == *power + 4u) mask &= ~3u;
    if (mask != expected[at]) {
      wrong.push_back(absl::StrFormat("0x%03x: 0x%08x, measured 0x%08x", at,
                                      mask, expected[at]));
    }
  }
  EXPECT_THAT(wrong, ElementsAre());
}

INSTANTIATE_TEST_SUITE_P(All, MeasuredMaskTest, ::testing::ValuesIn(kMeasured),
                         [](const auto& suite) {
                           return std::string(suite.param.fixture);
                         });

class FakeConfigTest : public VfioDeviceTest {
 protected:
  // Returns an NVMe controller with the capabilities `chain` at 0x40.
  static fixture::PciDevice WithCapabilities(
      const std::vector<uint8_t>& chain) {
    fixture::PciDevice device = LoadDevice("ivshmem");
    SetConfigBytes(device, PCI_STATUS, {PCI_STATUS_CAP_LIST});
    SetConfigBytes(device, PCI_CAPABILITY_LIST, {0x40});
    SetConfigBytes(device, 0x40, chain);
    return device;
  }
  // Returns an NVMe controller with this capability at 0x100.
  static fixture::PciDevice WithExtended(uint32_t at,
                                         const std::vector<uint8_t>& bytes,
                                         fixture::PciDevice device) {
    SetConfigBytes(device, at, bytes);
    return device;
  }
};

TEST_F(FakeConfigTest, BarSizingIsEmulatedAndTheHardwaresKept) {
  Start(LoadDevice("nvme"));
  user().WriteConfig(PCI_BASE_ADDRESS_0, 4, ~0u);
  user().WriteConfig(PCI_BASE_ADDRESS_1, 4, ~0u);
  EXPECT_EQ(user().ReadConfig(PCI_BASE_ADDRESS_0, 4), 0xffffc004u);
  EXPECT_EQ(user().ReadConfig(PCI_BASE_ADDRESS_1, 4), ~0u);
  EXPECT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), 0xfe600004u);
  EXPECT_EQ(user().ReadConfig(PCI_BASE_ADDRESS_2, 4), 0u);
}

TEST_F(FakeConfigTest, AnyWidthAndAlignmentMergesByteByByte) {
  Start(LoadDevice("nvme"));
  const uint8_t bytes[] = {0x11, 0x22, 0x33, 0x44, 0x55};
  const auto written = host().kernel().Pwrite(
      user().device(), bytes, sizeof(bytes),
      (uint64_t{VFIO_PCI_CONFIG_REGION_INDEX} << 40) + 0x6b);
  ASSERT_EQ(written.value, sizeof(bytes));
  EXPECT_EQ(user().ReadConfig(0x6b, 1), 0x11u);
  EXPECT_EQ(user().ReadConfig(0x6c, 4), 0x55443322u);
}

TEST_F(FakeConfigTest, NoLegacyInterruptMeansNoPin) {
  fixture::PciDevice device = LoadDevice("e1000e");
  // This is an X710, whose INTx is broken.
  SetConfigBytes(device, PCI_DEVICE_ID, {0x72, 0x15});
  device.mutable_identity()->set_device_id(0x1572);
  Start(device);
  EXPECT_EQ(user().ReadConfig(PCI_INTERRUPT_PIN, 1), 0u);
  EXPECT_EQ(user().SetNone(VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                           0, 0),
            -EINVAL);
}

TEST_F(FakeConfigTest, VirtualFunctionShowsItsRealIdsAndDecodesMemory) {
  fixture::PciDevice device = LoadDevice("ivshmem");
  SetConfigBytes(device, 0, {0xff, 0xff, 0xff, 0xff, 0, 0});
  device.set_is_virtual_function(true);
  Start(device);
  EXPECT_EQ(user().ReadConfig(0, 4), 0x11101af4u);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, 0, 4, &value), 4);
}

TEST_F(FakeConfigTest, CapabilityThatIsNotShownIsUnlinked) {
  // The list is an SSVID (hidden), a vendor-specific capability of 8 bytes and
  // an SHPC (hidden).
  Start(WithCapabilities({0x0d, 0x48, 0, 0, 0, 0, 0, 0,  //
                          0x09, 0x50, 0x08, 0, 0, 0, 0, 0, 0x0c, 0x00}));
  EXPECT_EQ(user().ReadConfig(PCI_CAPABILITY_LIST, 1), 0x48u);
  EXPECT_EQ(user().ReadConfig(0x49, 1), 0u);
  // A hidden capability is still readable.
  EXPECT_EQ(user().ReadConfig(0x40, 2), 0x480du);
}

TEST_F(FakeConfigTest, OnlyHiddenCapabilitiesClearTheStatusBit) {
  Start(WithCapabilities({0x0d, 0x00}));
  EXPECT_EQ(user().ReadConfig(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0u);
}

TEST_F(FakeConfigTest, AbuttingCapabilitiesOfOneKindShareTheFirstHeader) {
  // Two vendor-specific capabilities are adjacent, and a hidden one follows.
  // The link shows, because vfio_find_cap_start() takes the two for one.
  Start(WithCapabilities({0x09, 0x44, 0x04, 0, 0x09, 0x48, 0x04, 0,  //
                          0x0d, 0x00}));
  EXPECT_EQ(user().ReadConfig(0x41, 1), 0x44u);
  EXPECT_EQ(user().ReadConfig(0x45, 1), 0x48u);
}

TEST_F(FakeConfigTest, LoopOfCapabilitiesEnds) {
  Start(WithCapabilities({0x09, 0x44, 0x04, 0, 0x09, 0x40, 0x04, 0}));
  EXPECT_EQ(user().ReadConfig(0x40, 2), 0x4409u);
}

TEST_F(FakeConfigTest, FirstExtendedCapabilityHiddenLosesIdAndVersion) {
  // The list is a PASID (hidden) at 0x100 and a serial number at 0x150.
  Start(WithExtended(
      0x150, {0x03, 0x00, 0x01, 0x00},
      WithExtended(0x100, {0x1b, 0x00, 0x01, 0x15}, LoadDevice("nvme"))));
  EXPECT_EQ(user().ReadConfig(0x100, 4), 0x15000000u);
  EXPECT_EQ(user().ReadConfig(0x150, 4), 0x00010003u);
}

TEST_F(FakeConfigTest, LaterExtendedCapabilityHiddenIsUnlinked) {
  // The list is a serial number at 0x100, a DPC (hidden) at 0x150 and an ATS at
  // 0x160.
  Start(WithExtended(0x160, {0x0f, 0x00, 0x01, 0x00},
                     WithExtended(0x150, {0x1d, 0x00, 0x01, 0x16},
                                  WithExtended(0x100, {0x03, 0x00, 0x01, 0x15},
                                               LoadDevice("nvme")))));
  EXPECT_EQ(user().ReadConfig(0x100, 4), 0x16010003u);
}

TEST_F(FakeConfigTest, OnlyHiddenExtendedCapabilitiesReadAsNone) {
  Start(WithExtended(0x100, {0x1b, 0x00, 0x01, 0x00}, LoadDevice("nvme")));
  EXPECT_EQ(user().ReadConfig(0x100, 4), 0u);
}

TEST_F(FakeConfigTest, FunctionLevelResetByDeviceControl) {
  Start(LoadDevice("nvme"));
  const uint64_t before = Snapshot().resets;
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  user().WriteConfig(0x80 + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(Snapshot().resets, before + 1);
  EXPECT_EQ(user().ReadConfig(0x80 + PCI_EXP_DEVCTL, 2), 0u);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
}

TEST_F(FakeConfigTest, FunctionLevelResetOfOneThatHasNone) {
  Start(LoadDevice("e1000e"));
  const uint64_t before = Snapshot().resets;
  user().WriteConfig(0xe0 + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(Snapshot().resets, before);
  EXPECT_EQ(user().ReadConfig(0xe0 + PCI_EXP_DEVCTL, 2), 0u);
}

TEST_F(FakeConfigTest, FunctionLevelResetByAdvancedFeatures) {
  fixture::PciDevice device =
      WithCapabilities({0x13, 0x00, 0x06, 0x03, 0x00, 0x00});
  device.mutable_reset()->add_methods(fixture::Reset::AF_FLR);
  Start(device);
  const uint64_t before = Snapshot().resets;
  user().WriteConfig(0x44, 1, PCI_AF_CTRL_FLR);
  EXPECT_EQ(Snapshot().resets, before + 1);
  EXPECT_EQ(user().ReadConfig(0x44, 1), 0u);
}

TEST_F(FakeConfigTest, MaximumReadRequestHasTheHostsPayloadAsItsFloor) {
  fixture::PciDevice device = LoadDevice("nvme");
  // The host set 512 bytes of payload and of read request.
  SetConfigBytes(device, 0x88, {0x40, 0x20});
  Start(device);
  user().WriteConfig(0x88, 2, 0x0000);
  EXPECT_EQ(user().ReadConfig(0x88, 2) & PCI_EXP_DEVCTL_READRQ, 0u);
  EXPECT_EQ(Physical(0x88, 2) & PCI_EXP_DEVCTL_READRQ, 0x2000u);
  user().WriteConfig(0x88, 2, 0x5000);
  EXPECT_EQ(Physical(0x88, 2) & PCI_EXP_DEVCTL_READRQ, 0x5000u);
}

TEST_F(FakeConfigTest, VitalProductDataIsAccessedWhenTheFlagIsWritten) {
  fixture::PciDevice device = WithCapabilities({0x03, 0x00, 0, 0, 0, 0, 0, 0});
  fixture::ByteRow* row = device.add_vpd();
  row->set_offset(4);
  row->set_bytes("01 02 03 04");
  Start(device);
  user().WriteConfig(0x42, 2, 4);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 4u | PCI_VPD_ADDR_F);
  EXPECT_EQ(user().ReadConfig(0x44, 4), 0x04030201u);
  user().WriteConfig(0x44, 4, 0xaabbccdd);
  user().WriteConfig(0x42, 2, 8 | PCI_VPD_ADDR_F);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 8u);
  user().WriteConfig(0x42, 2, 8);
  EXPECT_EQ(user().ReadConfig(0x44, 4), 0xaabbccddu);
}

TEST_F(FakeConfigTest, WakeEventsAreNotShown) {
  Start(LoadDevice("e1000e"));
  EXPECT_EQ(Physical(0xca, 2), 0x0022u);
  EXPECT_EQ(user().ReadConfig(0xca, 2) & PCI_PM_CAP_PME_MASK, 0u);
  user().WriteConfig(0xcc, 2, PCI_PM_CTRL_PME_ENABLE);
  EXPECT_EQ(user().ReadConfig(0xcc, 2) & PCI_PM_CTRL_PME_ENABLE, 0u);
}

// Makes a function of edu with power management at `power`, with
// No_Soft_Reset, and with another capability, which links to it.
fixture::PciDevice WithPowerManagement(uint8_t power, uint8_t other,
                                       const std::vector<uint8_t>& bytes) {
  fixture::PciDevice device = LoadDevice("edu");
  SetConfigBytes(device, PCI_CAPABILITY_LIST, {other});
  SetConfigBytes(device, other, bytes);
  SetConfigBytes(device, power, {PCI_CAP_ID_PM, 0, 3, 0, 8, 0, 0, 0});
  return device;
}

// A PCI Express capability of version 1 ends where version 2 has Device Control
// 2, and a 32-bit MSI capability where a 64-bit one has its data. Power
// management may be there. Linux restores neither, and the function would go
// back to the state that was saved.
class LeavingD3Test : public VfioDeviceTest {
 protected:
  void ExpectItLeaves(uint8_t power) {
    const uint16_t state = power + PCI_PM_CTRL;
    user().WriteConfig(state, 2, 3);
    EXPECT_EQ(user().ReadConfig(state, 2) & 3, 3u);
    user().WriteConfig(state, 2, 0);
    EXPECT_EQ(user().ReadConfig(state, 2) & 3, 0u);
    EXPECT_EQ(Physical(state, 2) & 3, 0u);
  }
};

TEST_F(LeavingD3Test, PowerManagementIsBehindPciExpressOfVersion1) {
  constexpr uint8_t kPower = 0xa4;
  fixture::PciDevice device = WithPowerManagement(
      kPower, 0x80, {PCI_CAP_ID_EXP, kPower, 1, 0, 0, 0x80});
  device.mutable_irqs(1)->set_count(0);
  device.mutable_irqs(3)->set_index(VFIO_PCI_ERR_IRQ_INDEX);
  fixture::Irq* const request = device.add_irqs();
  request->set_index(VFIO_PCI_REQ_IRQ_INDEX);
  request->set_count(1);
  Start(device);
  ExpectItLeaves(kPower);
}

TEST_F(LeavingD3Test, PowerManagementIsBehind32BitMsi) {
  constexpr uint8_t kPower = 0x9c;
  Start(WithPowerManagement(kPower, 0x94, {PCI_CAP_ID_MSI, kPower}));
  ExpectItLeaves(kPower);
}

TEST_F(FakeConfigTest, PowerStateThatTheFunctionLacksIsRefused) {
  Start(LoadDevice("nvme"));
  user().WriteConfig(0x64, 2, 1);
  EXPECT_EQ(Snapshot().power_state, 0u);
  user().WriteConfig(0x64, 2, 3);
  EXPECT_EQ(Snapshot().power_state, 3u);
  user().WriteConfig(0x64, 2, 2);
  EXPECT_EQ(Snapshot().power_state, 3u);
  user().WriteConfig(0x64, 2, 0);
  EXPECT_EQ(Snapshot().power_state, 0u);
}

TEST_F(FakeConfigTest, SoftResetOnTheWayToD0IsRestored) {
  Start(LoadDevice("e1000e"));  // No_Soft_Reset is clear.
  user().WriteConfig(PCI_COMMAND, 2, 0x107);
  user().WriteConfig(0xcc, 2, 3);
  user().WriteConfig(0xcc, 2, 0);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), 0x107u);
  EXPECT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), 0xfe800000u);
}

TEST_F(FakeConfigTest, WriteInD3IsLostWithASoftReset) {
  Start(LoadDevice("e1000e"));
  user().WriteConfig(PCI_COMMAND, 2, 0x107);
  user().WriteConfig(0xcc, 2, 3);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  user().WriteConfig(0xcc, 2, 0);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), 0x107u);
  CloseUser();
  Start(LoadDevice("nvme"));  // No_Soft_Reset is set.
  user().WriteConfig(PCI_COMMAND, 2, 0x107);
  user().WriteConfig(0x64, 2, 3);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  user().WriteConfig(0x64, 2, 0);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), 0u);
}

TEST_F(FakeConfigTest, ResetInD3RestoresCommand) {
  Start(LoadDevice("e1000e"));
  user().WriteConfig(PCI_COMMAND, 2, 0x103);
  user().WriteConfig(0xcc, 2, 3);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  EXPECT_EQ(user().ReadConfig(0xcc, 2) & 3, 0u);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), 0x103u);
  EXPECT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), 0xfe800000u);
}

// The kernel's PCI core goes to D0 by itself, without VFIO's saved state.
TEST_F(FakeConfigTest, ResetByDeviceControlInD3LosesCommand) {
  fixture::PciDevice device = LoadDevice("nvme");
  SetConfigBytes(device, 0x64, {0});  // No_Soft_Reset is clear.
  Start(device);
  const uint32_t bar = Physical(PCI_BASE_ADDRESS_0, 4);
  user().WriteConfig(PCI_COMMAND, 2, 0x106);
  user().WriteConfig(0x64, 2, 3);
  user().WriteConfig(0x80 + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
  EXPECT_EQ(user().ReadConfig(0x64, 2) & 3, 0u);
  EXPECT_EQ(Physical(PCI_COMMAND, 2), 0u);
  EXPECT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), bar);
}

TEST_F(FakeConfigTest, RefusedHotResetGoesToD0AllTheSame) {
  Start(LoadDevice("qemu10_nvme"));  // Its slot and bus have no reset.
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  user().WriteConfig(0x64, 2, 3);
  const uint32_t request[] = {16, 0, 1, static_cast<uint32_t>(user().group())};
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_PCI_HOT_RESET,
                         const_cast<uint32_t*>(request)),
            -ENOTTY);
  EXPECT_EQ(user().ReadConfig(0x64, 2) & 3, 0u);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, 0, 4, &value), 4);
}

TEST_F(FakeConfigTest, ErrorMasksAreRestoredAfterAReset) {
  Start(LoadDevice("qemu10_e1000e"));
  constexpr uint64_t kSeverity = 0x100 + PCI_ERR_UNCOR_SEVER;
  const uint32_t before = user().ReadConfig(kSeverity, 4);
  user().WriteConfig(kSeverity, 4, ~uint32_t{0});
  const uint32_t written = user().ReadConfig(kSeverity, 4);
  EXPECT_NE(written, before);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  EXPECT_EQ(user().ReadConfig(kSeverity, 4), written);
  // The next user finds what the device had.
  CloseUser();
  OpenUser();
  EXPECT_EQ(user().ReadConfig(kSeverity, 4), before);
}

TEST_F(FakeConfigTest, RegistersOfNoStructureSurviveAReset) {
  Start(LoadDevice("qemu10_nvme"));
  user().WriteConfig(0x50, 4, 0x12345678);
  user().WriteConfig(PCI_CACHE_LINE_SIZE, 1, 0x10);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  EXPECT_EQ(user().ReadConfig(0x50, 4), 0x12345678u);
  CloseUser();
  OpenUser();
  EXPECT_EQ(user().ReadConfig(0x50, 4), 0x12345678u);
}

// Features of migration, which the device lacks, are looked up before the
// operation is.
TEST_F(FakeConfigTest, FeatureWithoutAnOperation) {
  Start(LoadDevice("nvme"));
  vfio_device_feature feature = {};
  feature.argsz = sizeof(feature);
  feature.flags = VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_FEATURE, &feature),
            -ENOTTY);
  feature.flags = VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_FEATURE, &feature),
            -EINVAL);
}

TEST_F(FakeConfigTest, BackdoorResetIsNoticedWhenDecodingIsEnabledAgain) {
  Start(LoadDevice("nvme"));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  ASSERT_TRUE(host().vfio().BackdoorReset(bdf()).ok());
  ASSERT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), 4u);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(Physical(PCI_BASE_ADDRESS_0, 4), 0xfe600004u);
}

TEST_F(FakeConfigTest, MsiControlReadsBackAsWritten) {
  Start(LoadDevice("edu"));
  user().WriteConfig(0x42, 2, 0x0e);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 0x0eu);
}

TEST_F(FakeConfigTest, MsiControlIsRefreshedWithoutTheQuirk) {
  SimulatedHost::Options options;
  options.vfio.msi_control_reads_back = false;
  Start(LoadDevice("edu"), {}, options);
  user().WriteConfig(0x42, 2, 0x0e);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 0x00u);
}

TEST_F(FakeConfigTest, NextOpenStartsFromTheHardware) {
  Start(LoadDevice("nvme"));
  user().WriteConfig(PCI_BASE_ADDRESS_0, 4, 0xabcd0000);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MASTER);
  CloseUser();
  OpenUser();
  EXPECT_EQ(user().ReadConfig(PCI_BASE_ADDRESS_0, 4), 0xfe600004u);
  EXPECT_EQ(user().ReadConfig(PCI_COMMAND, 2), 0x103u);
}

// Whatever 4 KiB a device shows, the layout has a place for every byte.
TEST(ConfigLayoutTest, AnyContentsMakeALayout) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> config(round % 2 == 0 ? 256 : 4096);
    for (uint8_t& byte : config) {
      // Small values often make valid ids and links.
      byte = static_cast<uint8_t>(random() % (round % 3 == 0 ? 256 : 64));
    }
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    config[PCI_CAPABILITY_LIST] =
        static_cast<uint8_t>(0x40 + 4 * (random() % 48));
    const ConfigLayout layout = MakeConfigLayout(config, {});
    ASSERT_EQ(layout.bytes.size(), config.size());
    ASSERT_EQ(layout.vconfig.size(), config.size());
    for (size_t i = 0; i < config.size(); ++i) {
      ASSERT_LE(layout.bytes[i].start, i);
    }
  }
}

}  // namespace
}  // namespace passthru::fake
