// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bridge_windows.h"

#include <cstdint>
#include <random>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Returns the registers of a bridge with 16-bit I/O addresses and 64-bit
// prefetchable addresses.
ConfigSpace Bridge() {
  ConfigSpace config(kConfigSpaceSize);
  config.Set(kPrefetchableMemoryBase, uint16_t{1});
  config.Set(kPrefetchableMemoryLimit, uint16_t{1});
  return config;
}

// The registers as PCI to PCI Bridge 1.2 3.2.5.6, 3.2.5.8 and 3.2.5.9 encode
// them.
TEST(BridgeWindowsTest, RegistersHoldTheUpperBitsOfBaseAndLimit) {
  ConfigSpace config = Bridge();
  const BridgeWindows windows = {
      .io = {.base = 0x2000, .size = 0x2000},
      .memory = {.base = 0xc0000000, .size = 0x200000},
      .prefetchable = {.base = 0x4012300000, .size = 0x40000000}};
  ASSERT_THAT(windows.Write(config), IsOk());
  EXPECT_EQ(config.Get(kIoBase), 0x20);
  EXPECT_EQ(config.Get(kIoLimit), 0x30);
  EXPECT_EQ(config.Get(kMemoryBase), 0xc000);
  EXPECT_EQ(config.Get(kMemoryLimit), 0xc010);
  EXPECT_EQ(config.Get(kPrefetchableMemoryBase), 0x1231);
  EXPECT_EQ(config.Get(kPrefetchableMemoryLimit), 0x5221);
  EXPECT_EQ(config.Get(kPrefetchableBaseUpper), 0x40u);
  EXPECT_EQ(config.Get(kPrefetchableLimitUpper), 0x40u);
  EXPECT_EQ(BridgeWindows::Read(config.bytes()), windows);
}

TEST(BridgeWindowsTest, AllZeroRegistersAreWindowsOfOneGranule) {
  const ConfigSpace config(kConfigSpaceSize);
  EXPECT_EQ(BridgeWindows::Read(config.bytes()),
            (BridgeWindows{.io = {.base = 0, .size = 0x1000},
                           .memory = {.base = 0, .size = 0x100000},
                           .prefetchable = {.base = 0, .size = 0x100000}}));
}

TEST(BridgeWindowsTest, ALimitBelowTheBaseClosesTheWindow) {
  ConfigSpace config = Bridge();
  ASSERT_THAT(BridgeWindows().Write(config), IsOk());
  EXPECT_GT(config.Get(kIoBase), config.Get(kIoLimit));
  EXPECT_GT(config.Get(kMemoryBase), config.Get(kMemoryLimit));
  EXPECT_EQ(BridgeWindows::Read(config.bytes()), BridgeWindows());
}

TEST(BridgeWindowsTest, TheLastWindowEndsWithTheAddresses) {
  ConfigSpace config = Bridge();
  const BridgeWindows windows = {
      .io = {.base = 0xf000, .size = 0x1000},
      .memory = {.base = 0xfff00000, .size = 0x100000},
      .prefetchable = {.base = ~uint64_t{0xfffff}, .size = 0x100000}};
  ASSERT_THAT(windows.Write(config), IsOk());
  EXPECT_EQ(BridgeWindows::Read(config.bytes()), windows);
}

TEST(BridgeWindowsTest, RefusesWhatTheRegistersCannotHold) {
  const BridgeWindows kBad[] = {
      {.io = {.base = 0x2100, .size = 0x1000}},
      {.io = {.base = 0x2000, .size = 0x800}},
      {.io = {.base = 0x10000, .size = 0x1000}},
      {.memory = {.base = 0xc0080000, .size = 0x100000}},
      {.memory = {.base = 0xfff00000, .size = 0x200000}},
      {.memory = {.base = 0x100000000, .size = 0x100000}},
      {.prefetchable = {.base = 0x4000080000, .size = 0x100000}},
      {.prefetchable = {.base = ~uint64_t{0xfffff}, .size = 0x200000}},
  };
  for (const BridgeWindows& windows : kBad) {
    ConfigSpace config = Bridge();
    const auto before = config.Get(kMemoryBase);
    EXPECT_THAT(
        windows.Write(config),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("window of")));
    EXPECT_EQ(config.Get(kMemoryBase), before);
  }
}

TEST(BridgeWindowsTest, PrefetchableAddressesOf32BitsStayBelow4GiB) {
  ConfigSpace config(kConfigSpaceSize);
  EXPECT_THAT((BridgeWindows{
                  .prefetchable = {.base = uint64_t{1} << 32, .size = 0x100000}}
                   .Write(config)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  config.Set(kPrefetchableBaseUpper, 7u);
  EXPECT_EQ(BridgeWindows::Read(config.bytes()).prefetchable.base, 0u);
}

TEST(BridgeWindowsTest, WideIoAddressesHave32Bits) {
  ConfigSpace config(kConfigSpaceSize);
  config.Set(kIoBase, uint8_t{1});
  config.Set(kIoLimit, uint8_t{1});
  const BridgeWindows windows = {.io = {.base = 0x123000, .size = 0x2000}};
  ASSERT_THAT(windows.Write(config), IsOk());
  EXPECT_EQ(config.Get(kIoBaseUpper), 0x12);
  EXPECT_EQ(BridgeWindows::Read(config.bytes()), windows);
}

TEST(BridgeWindowsTest, AnyRegistersReadAndWriteBack) {
  std::mt19937_64 random(0x10);
  for (int i = 0; i < 1000; ++i) {
    ConfigSpace config = Bridge();
    const auto set = [&](auto reg) {
      using Raw = decltype(config.Get(reg));
      config.Set(
          reg, static_cast<Raw>(config.Get(reg) | (random() & ~uint64_t{0xf})));
    };
    set(kIoBase);
    set(kIoLimit);
    set(kMemoryBase);
    set(kMemoryLimit);
    set(kPrefetchableMemoryBase);
    set(kPrefetchableMemoryLimit);
    config.Set(kPrefetchableBaseUpper, static_cast<uint32_t>(random() % 4));
    config.Set(kPrefetchableLimitUpper, static_cast<uint32_t>(random() % 4));
    const BridgeWindows windows = BridgeWindows::Read(config.bytes());
    ConfigSpace again = Bridge();
    ASSERT_THAT(windows.Write(again), IsOk());
    EXPECT_EQ(BridgeWindows::Read(again.bytes()), windows);
  }
}

TEST(BridgeWindowTest, ContainsWhatIsWhollyInside) {
  const BridgeWindow window = {.base = 0x1000, .size = 0x1000};
  EXPECT_TRUE(window.Contains(0x1000, 0x1000));
  EXPECT_TRUE(window.Contains(0x1fff, 1));
  EXPECT_FALSE(window.Contains(0xfff, 2));
  EXPECT_FALSE(window.Contains(0x1fff, 2));
  EXPECT_FALSE(window.Contains(0x1000, 0x1001));
  EXPECT_FALSE(window.Contains(0x1000, 0));
  EXPECT_FALSE(BridgeWindow().Contains(0, 1));
  EXPECT_FALSE(window.Contains(~uint64_t{0}, 2));
}

}  // namespace
}  // namespace passthru::pci
