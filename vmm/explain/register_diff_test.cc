// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/register_diff.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/vfio_rules.h"

namespace passthru::explain {
namespace {

Views SameViews() {
  const std::vector<uint8_t> config(256);
  return {.hardware = config, .vfio = config, .guest = config};
}

Register RegisterAt(const std::vector<Register>& registers, uint32_t offset) {
  for (const Register& reg : registers) {
    if (reg.offset() == offset) return reg;
  }
  ADD_FAILURE() << "no register at " << offset;
  return {};
}

TEST(RegisterDiffTest, EqualRegistersHaveNoReason) {
  for (const Register& reg : CompareViews(SameViews(), {})) {
    EXPECT_FALSE(VfioDiffers(reg)) << reg.name();
    EXPECT_FALSE(GuestDiffers(reg)) << reg.name();
    EXPECT_EQ(reg.why_vfio() + reg.why_guest(), "") << reg.name();
  }
}

TEST(RegisterDiffTest, ComparesEachPartyWithTheOneBelow) {
  Views views = SameViews();
  views.hardware[0x3d] = 1;  // Interrupt Pin
  views.vfio[0x3d] = 0;
  views.vfio[0x3c] = 5;  // Interrupt Line
  views.hardware[0x3c] = 5;
  vfio_pci::DeviceReport report;
  report.registers.push_back(
      {.offset = 0x3c, .size = 1, .reason = "the line is the guest's"});
  const std::vector<Register> registers = CompareViews(views, report);
  const Register pin = RegisterAt(registers, 0x3d);
  EXPECT_TRUE(VfioDiffers(pin));
  EXPECT_FALSE(GuestDiffers(pin));
  EXPECT_EQ(pin.why_vfio(), "the host has no interrupt line for it");
  const Register line = RegisterAt(registers, 0x3c);
  EXPECT_FALSE(VfioDiffers(line));
  EXPECT_TRUE(GuestDiffers(line));
  EXPECT_EQ(line.why_guest(), "the line is the guest's");
  EXPECT_EQ(line.hardware(), 5u);
  EXPECT_EQ(line.guest(), 0u);
}

// Only bytes that differ count, and the last entry for a byte wins.
TEST(RegisterDiffTest, ReasonIsThatOfTheBytesThatDiffer) {
  Views views = SameViews();
  views.vfio[0x10] = 0x04;
  views.vfio[0x13] = 0xfe;
  views.guest[0x10] = 0x04;
  vfio_pci::DeviceReport report;
  report.registers = {
      {.offset = 0x10, .size = 24, .reason = "older"},
      {.offset = 0x10, .size = 1, .reason = "of a byte that is the same"},
      {.offset = 0x13, .size = 1, .reason = "newer", .by_vmm = true}};
  EXPECT_EQ(RegisterAt(CompareViews(views, report), 0x10).why_guest(),
            "by the VMM: newer");
}

TEST(RegisterDiffTest, UnreadableHardwareIsUnknown) {
  Views views = SameViews();
  views.hardware.resize(64);
  views.vfio[0x40] = 1;
  const std::vector<Register> registers = CompareViews(views, {});
  EXPECT_TRUE(RegisterAt(registers, 0x3c).has_hardware());
  EXPECT_FALSE(RegisterAt(registers, 0x40).has_hardware());
  EXPECT_FALSE(VfioDiffers(RegisterAt(registers, 0x40)));
}

TEST(RegisterDiffTest, VirtualFunctionHasNoIds) {
  Views views = SameViews();
  views.hardware[0] = 0xff;
  EXPECT_EQ(RegisterAt(CompareViews(views, {}), 0).why_vfio(), kNoRule);
  views.is_virtual_function = true;
  EXPECT_THAT(RegisterAt(CompareViews(views, {}), 0).why_vfio(),
              testing::HasSubstr("virtual function"));
}

}  // namespace
}  // namespace passthru::explain
