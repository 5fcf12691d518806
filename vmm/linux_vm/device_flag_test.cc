// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/device_flag.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(DeviceFlagTest, ADeviceWithoutOptions) {
  const auto flag = ParseDeviceFlag("0000:01:00.0");
  ASSERT_THAT(flag, IsOk());
  EXPECT_EQ(flag->name, "0000:01:00.0");
  EXPECT_EQ(flag->options.guest, std::nullopt);
  EXPECT_EQ(flag->options.device.max_vectors, std::nullopt);
}

TEST(DeviceFlagTest, AllOptions) {
  const auto flag = ParseDeviceFlag(
      "0000:01:00.0,slot=4.1,rom=/tmp/rom.bin,max_vectors=8,hide=3,"
      "hide_extended=1,unlisted=read_only,bar0=0xc0000000,bar2=1000,bars=host,"
      "vendor=8086,device=10d3,subsystem_vendor=1,subsystem=2,revision=ff,"
      "vf_token=2ab74924-c335-45f4-9b16-8569e5b08258");
  ASSERT_THAT(flag, IsOk());
  const auto& options = flag->options;
  EXPECT_EQ(options.guest, pci::Bdf(0, 0, 4, 1));
  EXPECT_EQ(options.root_port, std::nullopt);
  EXPECT_EQ(ParseDeviceFlag("a,port=3")->options.root_port, 3u);
  EXPECT_EQ(flag->rom, "/tmp/rom.bin");
  EXPECT_EQ(options.device.rom.source, vfio_pci::RomOptions::Source::kBytes);
  EXPECT_EQ(options.device.max_vectors, 8u);
  EXPECT_EQ(
      options.device.policy.For(pci::CapabilityId::kVitalProductData).treatment,
      vfio_pci::CapabilityTreatment::kHide);
  EXPECT_TRUE(
      options.device.policy.For(static_cast<pci::ExtendedCapabilityId>(1))
          .by_vmm);
  EXPECT_TRUE(options.device.policy.unlisted_read_only());
  EXPECT_EQ(options.bars.fixed.at(pci::BarIndex(0)), 0xc0000000u);
  EXPECT_EQ(options.bars.fixed.at(pci::BarIndex(2)), 0x1000u);
  EXPECT_TRUE(options.bars.as_on_host);
  EXPECT_EQ(options.device.identity.vendor_id, 0x8086);
  EXPECT_EQ(options.device.identity.device_id, 0x10d3);
  EXPECT_EQ(options.device.identity.subsystem_vendor_id, 1);
  EXPECT_EQ(options.device.identity.subsystem_id, 2);
  EXPECT_EQ(options.device.identity.revision_id, 0xff);
  EXPECT_EQ(options.vf_token, "2ab74924-c335-45f4-9b16-8569e5b08258");
}

TEST(DeviceFlagTest, MistakesSayWhatIsNeeded) {
  const auto refused = [](const std::string& text, const std::string& why) {
    EXPECT_THAT(ParseDeviceFlag(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)))
        << text;
  };
  refused("", "names no device");
  refused(",slot=4", "names no device");
  refused("a,slot", "needs a value");
  refused("a,slot=", "needs a value");
  refused("a,", "needs a value");
  refused("a,colour=red", "'colour=red' is no device option");
  refused("a,bar6=0", "is no device option");
  for (const char* slot : {"0", "32", "4.8", "4.1.1", "x", "-1", "4."}) {
    refused(std::string("a,slot=") + slot, "needs a slot from 1 to 31");
  }
  for (const char* most : {"0", "2049", "many", "99999999999"}) {
    refused(std::string("a,max_vectors=") + most, "from 1 to 2048");
  }
  refused("a,vendor=18086", "hexadecimal ID");
  refused("a,revision=100", "hexadecimal ID");
  refused("a,hide=100", "ID of a capability");
  refused("a,bar0=here", "hexadecimal address");
  refused("a,bars=guest", "needs the value host");
  for (const char* port : {"x", "256", "-1", "0.1"}) {
    refused(std::string("a,port=") + port, "needs the number of a root port");
  }
  refused("a,unlisted=writable", "needs the value read_only");
}

TEST(DeviceFlagTest, TheHelpNamesEveryOption) {
  for (const char* option :
       {"slot", "port", "rom", "max_vectors", "hide", "hide_extended",
        "unlisted", "bar0", "bars", "vendor", "device", "subsystem_vendor",
        "subsystem", "revision", "vf_token"}) {
    EXPECT_THAT(std::string(DeviceOptionsHelp()),
                HasSubstr(std::string(option) + "="));
  }
}

TEST(PortWindowsTest, SizesAndMistakes) {
  const auto defaults = ParsePortWindows("");
  ASSERT_THAT(defaults, IsOk());
  EXPECT_EQ(defaults->memory, uint64_t{2} << 20);
  const auto port = ParsePortWindows("memory=64M,prefetchable=8G,io=0");
  ASSERT_THAT(port, IsOk());
  EXPECT_EQ(port->io, 0u);
  EXPECT_EQ(port->memory, uint64_t{64} << 20);
  EXPECT_EQ(port->prefetchable, uint64_t{8} << 30);
  for (const char* text : {"64M", "memory", "mem=64M", ",", "memory=64M,"}) {
    EXPECT_THAT(ParsePortWindows(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("is no window of a root port")))
        << text;
  }
  EXPECT_THAT(ParsePortWindows("memory=much"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'much' is no size")));
}

TEST(ParseSizeTest, UnitsAndMistakes) {
  EXPECT_THAT(ParseSize("4096"), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseSize("64K"), IsOkAndHolds(uint64_t{64} << 10));
  EXPECT_THAT(ParseSize("512M"), IsOkAndHolds(uint64_t{512} << 20));
  EXPECT_THAT(ParseSize("2G"), IsOkAndHolds(uint64_t{2} << 30));
  for (const char* text :
       {"", "M", "0", "-1M", "1T", "1.5G", "99999999999999G"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("is no size")))
        << text;
  }
}

}  // namespace
}  // namespace passthru::vmm
