// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/pci_bus_files.h"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

constexpr char kBdf[] = "0000:02:00.0";
constexpr uint32_t kGroup = 7;

// A machine with an NVMe controller, used only by its files.
class PciBusFilesTest : public ::testing::Test {
 protected:
  PciBusFilesTest() { Plug("nvme", kBdf, {.group = kGroup}); }

  void Plug(const std::string& fixture, const std::string& bdf,
            DeviceOptions options) {
    options.bdf = *pci::Bdf::Parse(bdf);
    const auto added =
        host_.vfio().AddDevice(LoadDevice(fixture), std::move(options));
    EXPECT_TRUE(added.ok()) << added;
  }
  static std::string Device(const std::string& file) {
    return std::string("/sys/bus/pci/devices/") + kBdf + "/" + file;
  }
  std::string Read(const std::string& path) {
    const auto file = host_.kernel().Open(path.c_str(), O_RDONLY);
    if (!file.ok()) return strerrorname_np(file.error);
    std::string text(4096, '\0');
    text.resize(
        host_.kernel().Read(file.value, text.data(), text.size()).value);
    host_.kernel().Close(file.value);
    return text;
  }
  // Does what `echo TEXT > PATH` does. Returns an errno, or 0.
  int Write(const std::string& path, std::string text) {
    text += "\n";
    const auto file =
        host_.kernel().Open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) return file.error;
    const auto written =
        host_.kernel().Write(file.value, text.data(), text.size());
    host_.kernel().Close(file.value);
    return written.error;
  }
  std::string Driver() {
    const auto link = host_.kernel().Readlink(Device("driver").c_str());
    return link.ok() ? link.value.substr(link.value.rfind('/') + 1) : "none";
  }
  std::vector<std::string> List(const std::string& path) {
    return host_.kernel().ReadDirectory(path.c_str()).value;
  }

  SimulatedHost host_;
};

// The calls of driverctl.
TEST_F(PciBusFilesTest, OverrideMovesADeviceToVfioAndBack) {
  ASSERT_TRUE(host_.vfio().SetDriver(*pci::Bdf::Parse(kBdf), "nvme").ok());
  EXPECT_EQ(Read(Device("driver_override")), "(null)\n");
  EXPECT_EQ(host_.kernel().Open("/dev/vfio/7", O_RDWR).error, ENOENT);
  ASSERT_EQ(Write(Device("driver_override"), "vfio-pci"), 0);
  EXPECT_EQ(Read(Device("driver_override")), "vfio-pci\n");
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  EXPECT_EQ(Driver(), "none");
  ASSERT_EQ(Write("/sys/bus/pci/drivers_probe", kBdf), 0);
  EXPECT_EQ(Driver(), "vfio-pci");
  EXPECT_THAT(List("/dev/vfio"), Contains("7"));
  // As dpdk-devbind.py clears it.
  ASSERT_EQ(Write(Device("driver_override"), std::string(1, 0)), 0);
  EXPECT_EQ(Read(Device("driver_override")), "(null)\n");
  ASSERT_EQ(Write(Device("driver_override"), "vfio-pci"), 0);
  // And back to the driver of its class.
  ASSERT_EQ(Write(Device("driver_override"), ""), 0);
  EXPECT_EQ(Read(Device("driver_override")), "(null)\n");
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  ASSERT_EQ(Write("/sys/bus/pci/drivers_probe", kBdf), 0);
  EXPECT_EQ(Driver(), "nvme");
  EXPECT_THAT(List("/dev/vfio"), Not(Contains("7")));
}

TEST_F(PciBusFilesTest, BindChecksDeviceAndDriver) {
  const std::string vfio = "/sys/bus/pci/drivers/vfio-pci/";
  EXPECT_EQ(Write(vfio + "bind", kBdf), ENODEV);  // Not its device.
  ASSERT_EQ(Write(Device("driver_override"), "vfio-pci"), 0);
  EXPECT_EQ(Write(vfio + "bind", kBdf), EBUSY);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/nvme/unbind", kBdf), ENODEV);
  EXPECT_EQ(Write(vfio + "unbind", "0000:99:00.0"), ENODEV);
  EXPECT_EQ(Write(vfio + "unbind", kBdf), 0);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/nvme/bind", kBdf), ENODEV);
  EXPECT_EQ(Write(vfio + "bind", kBdf), 0);
  EXPECT_EQ(Driver(), "vfio-pci");
  EXPECT_EQ(Write("/sys/bus/pci/drivers_probe", "0000:99:00.0"), ENODEV);
}

// The calls of older scripts, without driver_override.
TEST_F(PciBusFilesTest, NewIdBindsWhatHasNoDriver) {
  const std::string vfio = "/sys/bus/pci/drivers/vfio-pci/";
  ASSERT_EQ(Write(vfio + "unbind", kBdf), 0);
  EXPECT_EQ(Write(vfio + "new_id", "1b36"), EINVAL);
  EXPECT_EQ(Write(vfio + "new_id", "1b36 0010"), 0);
  EXPECT_EQ(Driver(), "vfio-pci");
  EXPECT_EQ(Write(vfio + "new_id", "1b36 0010"), EEXIST);
  EXPECT_EQ(Write(vfio + "remove_id", "1b36 0010"), 0);
  EXPECT_EQ(Write(vfio + "remove_id", "1b36 0010"), ENODEV);
}

TEST_F(PciBusFilesTest, VfioDeviceHasItsOwnFolder) {
  EXPECT_THAT(List(Device("vfio-dev")), ElementsAre("vfio0"));
  Plug("edu", "0000:03:00.0", {.group = 8});
  EXPECT_THAT(List("/sys/bus/pci/devices/0000:03:00.0/vfio-dev"),
              ElementsAre("vfio1"));
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  EXPECT_EQ(host_.kernel().ReadDirectory(Device("vfio-dev").c_str()).error,
            ENOENT);
}

TEST_F(PciBusFilesTest, VfioDeviceIsOneOfItsClass) {
  EXPECT_THAT(List("/sys/class/vfio-dev"), ElementsAre("vfio0"));
  EXPECT_THAT(List("/sys/class/vfio-dev/vfio0"),
              ElementsAre("device", "subsystem", "uevent"));
  EXPECT_EQ(Read("/sys/class/vfio-dev/vfio0/device/vendor"), "0x1b36\n");
  EXPECT_THAT(List("/sys/class/vfio-dev/vfio0/subsystem"),
              ElementsAre("vfio0"));
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  EXPECT_THAT(List("/sys/class/vfio-dev"), ElementsAre());
}

// The answers are those of Linux 6.1 and 6.12 (testing/selftests).
TEST_F(PciBusFilesTest, DeviceThatNobodyHasOpenIsSuspended) {
  EXPECT_EQ(Read(Device("power_state")), "D3hot\n");
  {
    VfioUser user(&host_, *pci::Bdf::Parse(kBdf), kGroup);
    EXPECT_EQ(Read(Device("power_state")), "D0\n");
  }
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  EXPECT_EQ(Read(Device("power_state")), "D0\n");
  // edu has no power management.
  Plug("edu", "0000:03:00.0", {.group = 8});
  const std::string edu = "/sys/bus/pci/devices/0000:03:00.0/";
  EXPECT_EQ(Read(edu + "power_state"), "D0\n");
  EXPECT_EQ(Read(edu + "d3cold_allowed"), "0\n");
  EXPECT_EQ(Read(Device("d3cold_allowed")), "1\n");
}

TEST_F(PciBusFilesTest, LinkIsThatOfTheCapability) {
  EXPECT_EQ(Read(Device("current_link_speed")), "2.5 GT/s PCIe\n");
  EXPECT_EQ(Read(Device("max_link_width")), "1\n");
  Plug("edu", "0000:03:00.0", {.group = 8});
  EXPECT_THAT(List("/sys/bus/pci/devices/0000:03:00.0"),
              Not(Contains("current_link_speed")));
}

TEST_F(PciBusFilesTest, FlagsTakeWhatTheirParserTakes) {
  EXPECT_EQ(Read(Device("msi_bus")), "1\n");
  EXPECT_EQ(Write(Device("msi_bus"), "x"), EINVAL);
  EXPECT_EQ(Write(Device("msi_bus"), "0\n"), 0);
  EXPECT_EQ(Read(Device("msi_bus")), "0\n");
  EXPECT_EQ(Write(Device("numa_node"), "7"), EINVAL);
  EXPECT_EQ(Read(Device("numa_node")), "-1\n");
  Plug("igb", "0000:03:00.0", {.group = 8});
  const std::string probe =
      "/sys/bus/pci/devices/0000:03:00.0/sriov_drivers_autoprobe";
  EXPECT_EQ(Write(probe, "2"), EINVAL);
  EXPECT_EQ(Write(probe, "of"), 0);
  EXPECT_EQ(Read(probe), "0\n");
  EXPECT_EQ(Write(probe, "on"), 0);
  EXPECT_EQ(Read(probe), "1\n");
}

TEST_F(PciBusFilesTest, DeviceInUseIsAskedForAndNotTaken) {
  VfioUser user(&host_, *pci::Bdf::Parse(kBdf), kGroup);
  EXPECT_EQ(Read(Device("enable")), "1\n");
  EXPECT_EQ(Write(Device("driver/unbind"), kBdf), EBUSY);
  EXPECT_EQ(Write(Device("remove"), "1"), EBUSY);
  EXPECT_EQ(Driver(), "vfio-pci");
}

TEST_F(PciBusFilesTest, HostDriverCannotHaveAGroupThatAUserHas) {
  Plug("edu", "0000:03:00.0", {.group = kGroup, .driver = ""});
  VfioUser user(&host_, *pci::Bdf::Parse(kBdf), kGroup);
  const std::string edu = "/sys/bus/pci/devices/0000:03:00.0/";
  ASSERT_TRUE(
      host_.vfio().SetDriver(*pci::Bdf::Parse("0000:03:00.0"), "").ok());
  ASSERT_EQ(Write("/sys/bus/pci/drivers/nvme/new_id", "1234 11e8"), 0);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/nvme/bind", "0000:03:00.0"), EBUSY);
  ASSERT_EQ(Write(edu + "driver_override", "vfio-pci"), 0);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/vfio-pci/bind", "0000:03:00.0"), 0);
}

TEST_F(PciBusFilesTest, DeviceWithoutAnIommuIsNotForVfio) {
  Plug("edu", "0000:03:00.0", {.has_iommu = false, .driver = ""});
  const std::string edu = "/sys/bus/pci/devices/0000:03:00.0/";
  ASSERT_EQ(Write(edu + "driver_override", "vfio-pci"), 0);
  EXPECT_EQ(Write("/sys/bus/pci/drivers/vfio-pci/bind", "0000:03:00.0"),
            EINVAL);
}

TEST_F(PciBusFilesTest, ResetIsThatOfTheFunction) {
  const uint64_t before = host_.vfio().Snapshot(*pci::Bdf::Parse(kBdf))->resets;
  EXPECT_EQ(Write(Device("reset"), "0"), EINVAL);
  EXPECT_EQ(Write(Device("reset"), "x"), EINVAL);
  EXPECT_EQ(Write(Device("reset"), "1"), 0);
  EXPECT_EQ(host_.vfio().Snapshot(*pci::Bdf::Parse(kBdf))->resets, before + 1);
  EXPECT_EQ(Read(Device("reset")), "EACCES");
  // edu has no reset.
  Plug("edu", "0000:03:00.0", {.group = 8});
  EXPECT_THAT(List("/sys/bus/pci/devices/0000:03:00.0"),
              AllOf(Not(Contains("reset")), Not(Contains("reset_method"))));
}

TEST_F(PciBusFilesTest, RemovedDeviceComesBackByARescan) {
  EXPECT_EQ(Write(Device("remove"), "1"), 0);
  EXPECT_THAT(List("/sys/bus/pci/devices"), Not(Contains(kBdf)));
  EXPECT_THAT(List("/dev/vfio"), Not(Contains("7")));
  EXPECT_EQ(Write("/sys/bus/pci/rescan", "1"), 0);
  EXPECT_THAT(List("/sys/bus/pci/devices"), Contains(kBdf));
  EXPECT_EQ(Driver(), "nvme");
  ASSERT_EQ(Write(Device("driver_override"), "vfio-pci"), 0);
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  ASSERT_EQ(Write("/sys/bus/pci/drivers_probe", kBdf), 0);
  VfioUser user(&host_, *pci::Bdf::Parse(kBdf), kGroup);
  EXPECT_GE(user.device(), 0);
}

TEST_F(PciBusFilesTest, VirtualFunctionsAreNotMade) {
  Plug("igb", "0000:03:00.0", {.group = 8});
  const std::string igb = "/sys/bus/pci/devices/0000:03:00.0/";
  EXPECT_EQ(Read(igb + "sriov_totalvfs"), "8\n");
  EXPECT_EQ(Read(igb + "sriov_numvfs"), "0\n");
  EXPECT_EQ(Write(igb + "sriov_numvfs", "0"), 0);
  EXPECT_EQ(Write(igb + "sriov_numvfs", "2"), ENOENT);
  EXPECT_EQ(Write(igb + "sriov_numvfs", "9"), ERANGE);
  EXPECT_EQ(Write(igb + "sriov_numvfs", "two"), EINVAL);
}

TEST_F(PciBusFilesTest, EnableIsForTheDriver) {
  EXPECT_EQ(Read(Device("enable")), "0\n");
  EXPECT_EQ(Write(Device("enable"), "1"), EBUSY);
  ASSERT_EQ(Write(Device("driver/unbind"), kBdf), 0);
  EXPECT_EQ(Write(Device("enable"), "0"), EIO);
  EXPECT_EQ(Write(Device("enable"), "1"), 0);
  EXPECT_EQ(Read(Device("enable")), "1\n");
}

TEST_F(PciBusFilesTest, ModulesAreThoseOfTheVersion) {
  EXPECT_EQ(Read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"),
            "N\n");
  EXPECT_THAT(List("/sys/module/vfio_pci"), Contains("parameters"));
  EXPECT_THAT(List("/sys/bus/pci/drivers/nvme"), Contains("module"));
  EXPECT_EQ(Read("/sys/module/vfio_virqfd/initstate"), "ENOENT");
  SimulatedHost old({.kernel = {.version = KernelVersion::k6_1}});
  EXPECT_TRUE(old.kernel().ReadDirectory("/sys/module/vfio_virqfd").ok());
}

}  // namespace
}  // namespace passthru::fake
