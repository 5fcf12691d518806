// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/fake_sysfs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kDevice[] = "/sys/bus/pci/devices/0000:01:00.0";

class NamedFile final : public FakeFile {
 public:
  std::string Describe() const override { return "opened"; }
};

class FakeSysfsTest : public ::testing::Test {
 protected:
  FakeSysfsTest() {
    sysfs_.AddPciDevice({.bdf = "0000:01:00.0",
                         .vendor = 0x1b36,
                         .device = 0x0010,
                         .class_code = 0x010802,
                         .iommu_group = 6,
                         .driver = "vfio-pci"});
    sysfs_.AddCharacterDevice("/dev/vfio/6", [this](int flags) {
      flags_ = flags;
      return kernel::SyscallResult<std::shared_ptr<FakeFile>>{
          .value = std::make_shared<NamedFile>()};
    });
  }

  std::string Contents(const std::string& path) {
    auto file = sysfs_.Open(path, O_RDONLY);
    EXPECT_EQ(file.error, 0) << path;
    if (!file.ok()) return "";
    char text[64];
    const auto length = file.value->Read(text, sizeof(text));
    EXPECT_EQ(file.value->Read(text + 32, 1).value, 0u) << "not at the end";
    return std::string(text, length.value);
  }

  FakeSysfs sysfs_;
  int flags_ = 0;
};

TEST_F(FakeSysfsTest, OwnsItsPathsOnly) {
  for (const char* path :
       {"/dev/kvm", "/dev/vfio", "/dev/vfio/26", "/sys/bus/pci/devices",
        "/sys/kernel/iommu_groups/1", "/sys/devices/pci0000:00"}) {
    EXPECT_TRUE(FakeSysfs::Owns(path)) << path;
  }
  for (const char* path : {"/dev/kvmx", "/dev/null", "/sys/bus/pcix", "/sys",
                           "/proc/self/maps", "vfio", ""}) {
    EXPECT_FALSE(FakeSysfs::Owns(path)) << path;
  }
}

TEST_F(FakeSysfsTest, AdoptsOtherPaths) {
  EXPECT_TRUE(sysfs_.Has("/dev/kvm"));
  EXPECT_FALSE(sysfs_.Has("/sys/module/kvm"));
  sysfs_.Adopt("/sys/module");
  EXPECT_TRUE(sysfs_.Has("/sys/module"));
  EXPECT_TRUE(sysfs_.Has("/sys/module/kvm"));
  EXPECT_FALSE(sysfs_.Has("/sys/modules"));
}

TEST_F(FakeSysfsTest, DeviceLinksToItsGroupAndDriver) {
  EXPECT_EQ(sysfs_.Readlink(std::string(kDevice) + "/iommu_group").value,
            "../../../kernel/iommu_groups/6");
  EXPECT_EQ(sysfs_.Readlink(std::string(kDevice) + "/driver").value,
            "../../../bus/pci/drivers/vfio-pci");
}

TEST_F(FakeSysfsTest, LinksLeadToWhatTheyName) {
  EXPECT_THAT(
      sysfs_.ReadDirectory(std::string(kDevice) + "/iommu_group/devices").value,
      ElementsAre("0000:01:00.0"));
  EXPECT_EQ(Contents("/sys/kernel/iommu_groups/6/devices/0000:01:00.0/vendor"),
            "0x1b36\n");
  EXPECT_EQ(
      Contents("/sys/bus/pci/drivers/vfio-pci/0000:01:00.0/subsystem/devices/"
               "0000:01:00.0/class"),
      "0x010802\n");
}

TEST_F(FakeSysfsTest, AbsentDeviceIsEnoent) {
  EXPECT_EQ(
      sysfs_.Readlink("/sys/bus/pci/devices/0000:02:00.0/iommu_group").error,
      ENOENT);
  EXPECT_EQ(sysfs_.Open("/dev/vfio/7", O_RDWR).error, ENOENT);
}

TEST_F(FakeSysfsTest, DeviceWithoutIommuHasNoGroup) {
  sysfs_.AddPciDevice({.bdf = "0000:02:00.0"});
  EXPECT_EQ(
      sysfs_.Readlink("/sys/bus/pci/devices/0000:02:00.0/iommu_group").error,
      ENOENT);
}

TEST_F(FakeSysfsTest, UnboundDeviceHasNoDriver) {
  sysfs_.SetDriver("0000:01:00.0", "");
  EXPECT_EQ(sysfs_.Readlink(std::string(kDevice) + "/driver").error, ENOENT);
  EXPECT_THAT(sysfs_.ReadDirectory("/sys/bus/pci/drivers/vfio-pci").value,
              IsEmpty());
}

TEST_F(FakeSysfsTest, RebindingMovesTheDevice) {
  sysfs_.SetDriver("0000:01:00.0", "nvme");
  EXPECT_EQ(sysfs_.Readlink(std::string(kDevice) + "/driver").value,
            "../../../bus/pci/drivers/nvme");
  EXPECT_THAT(sysfs_.ReadDirectory("/sys/bus/pci/drivers/nvme").value,
              ElementsAre("0000:01:00.0"));
}

TEST_F(FakeSysfsTest, RemovedDeviceLeavesNothing) {
  sysfs_.RemovePciDevice("0000:01:00.0");
  EXPECT_THAT(sysfs_.ReadDirectory("/sys/bus/pci/devices").value, IsEmpty());
  EXPECT_THAT(sysfs_.ReadDirectory("/sys/kernel/iommu_groups").value,
              IsEmpty());
}

TEST_F(FakeSysfsTest, ReadlinkOfADirectoryIsEinval) {
  EXPECT_EQ(sysfs_.Readlink("/sys/bus/pci/devices").error, EINVAL);
}

TEST_F(FakeSysfsTest, DirectoryOfAFileIsEnotdir) {
  EXPECT_EQ(sysfs_.ReadDirectory(std::string(kDevice) + "/vendor").error,
            ENOTDIR);
  EXPECT_EQ(sysfs_.Open(std::string(kDevice) + "/vendor/x", O_RDONLY).error,
            ENOTDIR);
  EXPECT_EQ(sysfs_.Open("/dev/vfio/6", O_RDONLY | O_DIRECTORY).error, ENOTDIR);
}

TEST_F(FakeSysfsTest, LinkLoopIsEloop) {
  sysfs_.AddLink("/sys/bus/pci/loop", "loop");
  EXPECT_EQ(sysfs_.Open("/sys/bus/pci/loop", O_RDONLY).error, ELOOP);
}

TEST_F(FakeSysfsTest, LinkIsNotOpenedWithNofollow) {
  EXPECT_EQ(sysfs_.Open(kDevice, O_RDONLY | O_NOFOLLOW).error, ELOOP);
}

TEST_F(FakeSysfsTest, CharacterDeviceGetsTheOpenFlags) {
  EXPECT_EQ(sysfs_.Open("/dev/vfio/6", O_RDWR | O_CLOEXEC).error, 0);
  EXPECT_EQ(flags_, O_RDWR | O_CLOEXEC);
  EXPECT_THAT(sysfs_.ReadDirectory("/dev/vfio").value, ElementsAre("6"));
}

TEST_F(FakeSysfsTest, ExclusiveCreationOfWhatExistsIsEexist) {
  EXPECT_EQ(sysfs_.Open("/dev/vfio/6", O_RDWR | O_CREAT | O_EXCL).error,
            EEXIST);
}

TEST_F(FakeSysfsTest, NodeThatMayNotBeOpened) {
  sysfs_.SetOpenError("/dev/vfio/6", EACCES);
  EXPECT_EQ(sysfs_.Open("/dev/vfio/6", O_RDWR).error, EACCES);
  sysfs_.SetOpenError("/dev/vfio/6", 0);
  EXPECT_EQ(sysfs_.Open("/dev/vfio/6", O_RDWR).error, 0);
}

TEST_F(FakeSysfsTest, OwnsTheModulesOfVfio) {
  for (const char* path : {"/sys/module/vfio", "/sys/module/vfio_pci/refcnt"}) {
    EXPECT_TRUE(FakeSysfs::Owns(path)) << path;
  }
  EXPECT_FALSE(FakeSysfs::Owns("/sys/module/kvm"));
}

TEST_F(FakeSysfsTest, IdentityIsInSeveralForms) {
  EXPECT_EQ(Contents(std::string(kDevice) + "/modalias"),
            "pci:v00001B36d00000010sv00000000sd00000000bc01sc08i02\n");
  EXPECT_EQ(Contents(std::string(kDevice) + "/revision"), "0x00\n");
  EXPECT_EQ(Contents(std::string(kDevice) + "/numa_node"), "-1\n");
  EXPECT_EQ(Contents(std::string(kDevice) + "/irq"), "0\n");
  auto uevent = sysfs_.Open(std::string(kDevice) + "/uevent", O_RDONLY);
  ASSERT_TRUE(uevent.ok());
  std::string text(512, '\0');
  text.resize(uevent.value->Read(text.data(), text.size()).value);
  EXPECT_EQ(text,
            "DRIVER=vfio-pci\nPCI_CLASS=10802\nPCI_ID=1B36:0010\n"
            "PCI_SUBSYS_ID=0000:0000\nPCI_SLOT_NAME=0000:01:00.0\n"
            "MODALIAS=pci:v00001B36d00000010sv00000000sd00000000bc01sc08i02\n");
}

TEST_F(FakeSysfsTest, PhysicalFunctionTellsOfItsVirtualOnes) {
  EXPECT_EQ(
      sysfs_.Open(std::string(kDevice) + "/sriov_totalvfs", O_RDONLY).error,
      ENOENT);
  sysfs_.AddPciDevice(
      {.bdf = "0000:02:00.0",
       .sriov = SysfsSriov{
           .total_vfs = 8, .offset = 0x80, .stride = 2, .vf_device = 0x10ca}});
  const std::string device = "/sys/bus/pci/devices/0000:02:00.0/";
  EXPECT_EQ(Contents(device + "sriov_totalvfs"), "8\n");
  EXPECT_EQ(Contents(device + "sriov_offset"), "128\n");
  EXPECT_EQ(Contents(device + "sriov_vf_device"), "10ca\n");
}

TEST_F(FakeSysfsTest, AttributeIsMadeWhenItIsRead) {
  int value = 1;
  std::string written;
  sysfs_.AddAttribute("/sys/bus/pci/made",
                      {.show = [&] { return std::to_string(value) + "\n"; },
                       .store =
                           [&](std::string_view text) {
                             written = text;
                             return text == "bad" ? EINVAL : 0;
                           }});
  auto file = sysfs_.Open("/sys/bus/pci/made", O_RDWR | O_CREAT | O_TRUNC);
  ASSERT_TRUE(file.ok());
  value = 2;
  char text[8] = {};
  EXPECT_EQ(file.value->Pread(text, sizeof(text), 0).value, 2u);
  EXPECT_STREQ(text, "2\n");
  EXPECT_EQ(file.value->Write("on\n", 3).value, 3u);
  EXPECT_EQ(written, "on\n");
  EXPECT_EQ(file.value->Write("bad", 3).error, EINVAL);
}

TEST_F(FakeSysfsTest, AttributeWithOneDirectionIsOpenedForThatOnly) {
  sysfs_.AddAttribute(
      "/sys/bus/pci/written",
      {.show = nullptr, .store = [](std::string_view) { return 0; }});
  EXPECT_EQ(sysfs_.Open("/sys/bus/pci/written", O_RDONLY).error, EACCES);
  EXPECT_EQ(sysfs_.Open("/sys/bus/pci/written", O_RDWR).error, EACCES);
  EXPECT_EQ(sysfs_.Open("/sys/bus/pci/written", O_WRONLY).error, 0);
}

TEST_F(FakeSysfsTest, AttributesAreNotWritable) {
  EXPECT_EQ(sysfs_.Open(std::string(kDevice) + "/vendor", O_RDWR).error,
            EACCES);
  EXPECT_EQ(sysfs_.Open("/sys/bus/pci/devices", O_RDWR).error, EISDIR);
}

TEST_F(FakeSysfsTest, ListsAllNodesEachAfterItsFolder) {
  std::set<std::string> seen = {""};
  for (const FakeSysfs::Entry& entry : sysfs_.All()) {
    EXPECT_TRUE(seen.contains(entry.path.substr(0, entry.path.rfind('/'))))
        << entry.path;
    EXPECT_TRUE(seen.insert(entry.path).second) << entry.path;
  }
  EXPECT_TRUE(seen.contains("/dev/vfio/6"));
  EXPECT_TRUE(seen.contains("/sys/devices/pci0000:01/0000:01:00.0/vendor"));
  const uint64_t before = sysfs_.changes();
  EXPECT_EQ(sysfs_.changes(), before);
  sysfs_.SetDriver("0000:01:00.0", "");
  EXPECT_NE(sysfs_.changes(), before);
}

TEST_F(FakeSysfsTest, TextCanBeSoughtIn) {
  const auto file = sysfs_.Open(std::string(kDevice) + "/vendor", O_RDONLY);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file.value->size(), 7u);
  EXPECT_EQ(file.value->Seek(-5, SEEK_END).value, 2u);
  char text[8];
  EXPECT_EQ(file.value->Read(text, 4).value, 4u);
  EXPECT_EQ(std::string(text, 4), "1b36");
  EXPECT_EQ(file.value->Seek(0, SEEK_CUR).value, 6u);
  EXPECT_EQ(file.value->Seek(-1, SEEK_SET).error, EINVAL);
  EXPECT_EQ(NamedFile().Seek(0, SEEK_SET).error, ESPIPE);
}

}  // namespace
}  // namespace passthru::fake
