// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/find_group.h"

#include <cerrno>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::AllOf;
using testing::ElementsAre;
using testing::FieldsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The sysfs of a host, with its devices and the targets of their links.
class Sysfs : public kernel::ForwardingSyscalls {
 public:
  Sysfs() : ForwardingSyscalls(&linux_) {}

  void AddDevice(const std::string& device, const std::string& group,
                 const std::string& driver) {
    const std::string folder = "/sys/bus/pci/devices/" + device;
    devices_.push_back(device);
    if (!group.empty()) {
      links_[folder + "/iommu_group"] = "../../../kernel/iommu_groups/" + group;
    }
    if (!driver.empty()) {
      links_[folder + "/driver"] = "../../../bus/pci/drivers/" + driver;
    }
  }

  SyscallResult<std::string> Readlink(const char* path) override {
    if (link_error != 0) return {.error = link_error};
    const auto link = links_.find(path);
    if (link == links_.end()) return {.error = ENOENT};
    return {.value = link->second};
  }
  SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override {
    const std::string folder = "/sys/bus/pci/devices";
    if (path == folder) return {.value = devices_};
    for (const std::string& device : devices_) {
      if (path == folder + "/" + device) return {.value = {"config"}};
    }
    return {.error = missing_error};
  }

  int link_error = 0;
  int missing_error = ENOENT;

 private:
  kernel::LinuxSyscalls linux_;
  std::vector<std::string> devices_;
  std::map<std::string, std::string> links_;
};

const pci::Bdf kDevice(0, 1, 0, 0);

class FindGroupTest : public testing::Test {
 protected:
  Sysfs sysfs_;
};

TEST(ParseHostDeviceTest, Address) {
  EXPECT_THAT(ParseHostDevice("0000:01:00.0"), IsOkAndHolds(kDevice));
  EXPECT_THAT(ParseHostDevice("01:00.0"), IsOkAndHolds(kDevice));
}

TEST(ParseHostDeviceTest, AnythingElseIsOneSentenceWithAnExample) {
  for (const char* const text : {"", "eth0", "1:2:3:4", "0000:01:20.0",
                                 "0000:01:00.8", "0000:01:00.0 "}) {
    EXPECT_THAT(
        ParseHostDevice(text),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr(std::string("\"") + text + "\""),
                       HasSubstr("0000:01:00.0"), HasSubstr("lspci -D"))));
  }
}

TEST_F(FindGroupTest, DeviceOfVfioPci) {
  sysfs_.AddDevice("0000:01:00.0", "26", "vfio-pci");
  EXPECT_THAT(FindGroup(&sysfs_, kDevice), IsOkAndHolds(26));
}

TEST_F(FindGroupTest, DeviceOfAVariantDriver) {
  sysfs_.AddDevice("0000:01:00.0", "26", "mlx5_vfio_pci");
  EXPECT_THAT(FindGroup(&sysfs_, kDevice), IsOkAndHolds(26));
}

TEST_F(FindGroupTest, MissingDeviceSaysWhatToCheck) {
  EXPECT_THAT(
      FindGroup(&sysfs_, kDevice),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("no PCI device 0000:01:00.0 on this host"),
                     HasSubstr("lspci -D"), HasSubstr("powered"))));
}

TEST_F(FindGroupTest, UnreadableSysfsIsReported) {
  sysfs_.missing_error = EACCES;
  EXPECT_EQ(kernel::ErrnoOf(FindGroup(&sysfs_, kDevice).status()), EACCES);
}

TEST_F(FindGroupTest, WithoutAnIommuSaysHowToTurnItOn) {
  sysfs_.AddDevice("0000:01:00.0", "", "nvme");
  EXPECT_THAT(
      FindGroup(&sysfs_, kDevice),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("0000:01:00.0 has no IOMMU group"),
                     HasSubstr("intel_iommu=on"), HasSubstr("amd_iommu=on"),
                     HasSubstr("firmware"))));
}

TEST_F(FindGroupTest, HostDriverIsNamedWithTheCommandsToReplaceIt) {
  sysfs_.AddDevice("0000:01:00.0", "26", "nvme");
  EXPECT_THAT(
      FindGroup(&sysfs_, kDevice),
      StatusIs(
          absl::StatusCode::kFailedPrecondition,
          AllOf(HasSubstr("0000:01:00.0 is bound to the driver nvme"),
                HasSubstr("modprobe vfio-pci"),
                HasSubstr("echo vfio-pci > "
                          "/sys/bus/pci/devices/0000:01:00.0/driver_override"),
                HasSubstr("echo 0000:01:00.0 > "
                          "/sys/bus/pci/devices/0000:01:00.0/driver/unbind"),
                HasSubstr("echo 0000:01:00.0 > /sys/bus/pci/drivers_probe"))));
}

TEST_F(FindGroupTest, NoDriverNeedsNoUnbinding) {
  sysfs_.AddDevice("0000:01:00.0", "26", "");
  EXPECT_THAT(
      FindGroup(&sysfs_, kDevice),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("not bound to any driver"),
                     HasSubstr("drivers_probe"), Not(HasSubstr("unbind")))));
}

TEST_F(FindGroupTest, GroupThatIsNoNumberIsRefused) {
  sysfs_.AddDevice("0000:01:00.0", "twentysix", "vfio-pci");
  EXPECT_THAT(FindGroup(&sysfs_, kDevice),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("twentysix")));
}

TEST_F(FindGroupTest, UnreadableLinkIsReported) {
  sysfs_.AddDevice("0000:01:00.0", "26", "vfio-pci");
  sysfs_.link_error = EIO;
  EXPECT_EQ(kernel::ErrnoOf(FindGroup(&sysfs_, kDevice).status()), EIO);
}

TEST_F(FindGroupTest, OtherPathsAreUsed) {
  const absl::StatusOr<uint32_t> group =
      FindGroup(&sysfs_, kDevice, {.sysfs_pci = "/elsewhere"});
  EXPECT_THAT(group.status().message(), HasSubstr("/elsewhere/0000:01:00.0"));
}

TEST(FindBlockingDevicesTest, AreThoseOfTheGroupUnderHostDrivers) {
  Sysfs sysfs;
  sysfs.AddDevice("0000:00:1c.0", "9", "pcieport");
  sysfs.AddDevice("0000:00:1f.0", "9", "lpc_ich");
  sysfs.AddDevice("0000:00:1f.2", "9", "vfio-pci");
  sysfs.AddDevice("0000:00:1f.3", "9", "snd_hda_intel");
  sysfs.AddDevice("0000:00:1f.4", "9", "");
  sysfs.AddDevice("0000:00:1f.5", "9", "pci-stub");
  sysfs.AddDevice("0000:01:00.0", "26", "nvme");
  sysfs.AddDevice("0000:02:00.0", "", "e1000e");
  EXPECT_THAT(FindBlockingDevices(&sysfs, 9, VfioPaths()),
              ElementsAre(FieldsAre("0000:00:1f.0", "lpc_ich"),
                          FieldsAre("0000:00:1f.3", "snd_hda_intel")));
}

TEST(FindBlockingDevicesTest, WithoutSysfsNothingIsKnown) {
  Sysfs sysfs;
  EXPECT_THAT(FindBlockingDevices(&sysfs, 9, {.sysfs_pci = "/elsewhere"}),
              IsEmpty());
}

}  // namespace
}  // namespace passthru::vfio
