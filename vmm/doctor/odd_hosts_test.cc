// SPDX-License-Identifier: Apache-2.0
//
// Hosts that are wrong in more particular ways than those of doctor_test.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/vmm/doctor/doctor.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/wrong_host.h"

namespace passthru::doctor {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Report Look(WrongHost& host) {
  return Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
}

Finding Of(const Report& report, std::string_view check) {
  for (const Finding& finding : report.host()) {
    if (finding.check() == check) return finding;
  }
  for (const Finding& finding : report.devices(0).findings()) {
    if (finding.check() == check) return finding;
  }
  return Finding();
}

// Returns all commands for the device, in their order.
std::string AllCommands(const Report& report) {
  std::string commands;
  for (const Finding& finding : report.devices(0).findings()) {
    for (const std::string& command : finding.to_do()) {
      absl::StrAppend(&commands, command, "\n");
    }
  }
  return commands;
}

std::string ToDo(const Finding& finding) {
  return absl::StrJoin(finding.to_do(), "\n");
}

void ExpectInOrder(const std::string& text,
                   const std::vector<std::string_view>& parts) {
  size_t from = 0;
  for (const std::string_view part : parts) {
    const size_t at = text.find(part, from);
    EXPECT_NE(at, std::string::npos) << part << " in\n" << text;
    if (at == std::string::npos) return;
    from = at + part.size();
  }
}

// A driver must not go before what the host does with the device has ended.
TEST(OddHostsTest, CommandsCanBeGivenInTheirOrder) {
  WrongHost host(
      {Wrong::kMounted, Wrong::kVirtualFunctions, Wrong::kNetworkIsUp});
  ExpectInOrder(AllCommands(Look(host)),
                {"ip link set enp2s0 down", "umount /srv",
                 "echo 0 > /sys/bus/pci/devices/0000:02:00.0/sriov_numvfs",
                 "/driver_override", "/driver/unbind", "drivers_probe"});
}

TEST(OddHostsTest, NobodyIsToldToTakeTheRootDiskAway) {
  WrongHost host({Wrong::kRootDisk, Wrong::kMounted, Wrong::kRaid});
  const Report report = Look(host);
  EXPECT_THAT(AllCommands(report), Not(HasSubstr("unbind")));
  EXPECT_THAT(AllCommands(report), Not(HasSubstr("umount")));
  EXPECT_THAT(AllCommands(report), Not(HasSubstr("mdadm")));
  EXPECT_FALSE(report.devices(0).ready());
}

TEST(OddHostsTest, RootThatTheKernelMountedItselfIsFound) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {"nvme0n1p1", "nvme0n1p2"});
  host.AddDeviceFile("nvme/nvme0/nvme0n1/nvme0n1p1/dev", "259:1\n");
  host.AddDeviceFile("nvme/nvme0/nvme0n1/nvme0n1p2/dev", "259:2\n");
  host.AddFile("/proc/self/mountinfo",
               "24 1 259:2 / / rw - ext4 /dev/root rw\n");
  EXPECT_EQ(Of(Look(host), "use at /").verdict(), Finding::PROBLEM);
  host.AddFile("/proc/self/mountinfo", "24 1 8:1 / / rw - ext4 /dev/root rw\n");
  EXPECT_EQ(Of(Look(host), "use at /").check(), "");
}

// Whatever name an initial RAM disk mounts by, the number tells the disk.
TEST(OddHostsTest, MountByAnotherNameIsFound) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddDisk("cciss/cciss!c0d0", {});
  for (const std::string_view disk : {"nvme0n1", "cciss!c0d0"}) {
    const std::string number = disk == "nvme0n1" ? "259:1" : "259:2";
    for (const std::string_view source :
         {"/dev/disk/by-uuid/12-34", "/dev/vg/root", "/dev/cciss/c0d0"}) {
      host.AddFile("/proc/self/mountinfo",
                   absl::StrCat("24 1 ", number, " / / rw shared:1 master:2 - ",
                                "ext4 ", source, " rw\n"));
      const Finding finding = Of(Look(host), "use at /");
      EXPECT_EQ(finding.verdict(), Finding::PROBLEM) << disk << source;
      EXPECT_THAT(
          finding.known_by(),
          ElementsAre(absl::StrCat("/proc/self/mountinfo: ", number, " /")));
    }
  }
}

TEST(OddHostsTest, PlaceWithANumberSignIsWrittenAsItIs) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddMounts("/dev/nvme0n1 /srv/a\\043b ext4\n");
  EXPECT_THAT(ToDo(Of(Look(host), "use at /srv/a#b")),
              HasSubstr("umount '/srv/a#b'"));
}

TEST(OddHostsTest, FileSystemOfAnotherMountNamespaceIsSeen) {
  for (const std::string_view folder :
       {"/sys/fs/ext4/nvme0n1", "/sys/fs/xfs/nvme0n1",
        "/sys/fs/btrfs/1234/devices/nvme0n1"}) {
    WrongHost host({Wrong::kHostDriver});
    host.AddDisk("nvme/nvme0/nvme0n1", {});
    host.AddFile(absl::StrCat(folder, "/file"), "");
    const Finding finding = Of(Look(host), "use of nvme0n1");
    EXPECT_EQ(finding.verdict(), Finding::WARNING);
    EXPECT_THAT(finding.what(), HasSubstr("another mount namespace"));
    EXPECT_THAT(ToDo(finding), HasSubstr("grep -ls ' 259:1 '"));
    // It is named once.
    host.AddMounts(
        absl::StrCat("/dev/nvme0n1 /srv ",
                     absl::StrContains(folder, "btrfs") ? "btrfs" : "ext4"));
    EXPECT_EQ(Of(Look(host), "use of nvme0n1").check(), "");
  }
}

TEST(OddHostsTest, PlacesOfTheSystemAreNotGivenAway) {
  for (const std::string_view place :
       {"/usr", "/etc", "/var", "/boot", "/sysroot", "/nix/store",
        "/run/live/medium", "/etc/hosts"}) {
    WrongHost host({Wrong::kHostDriver});
    host.AddDisk("nvme/nvme0/nvme0n1", {});
    host.AddMounts(absl::StrCat("/dev/nvme0n1 ", place, " ext4\n"));
    const Report report = Look(host);
    EXPECT_EQ(Of(report, absl::StrCat("use at ", place)).verdict(),
              Finding::PROBLEM);
    EXPECT_THAT(AllCommands(report), Not(HasSubstr("unbind"))) << place;
  }
}

// Of a btrfs on several devices /proc/mounts names one.
TEST(OddHostsTest, SecondDeviceOfABtrfsIsInUse) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddFile("/sys/fs/btrfs/1234/devices/sda", "");
  host.AddFile("/sys/fs/btrfs/1234/devices/nvme0n1", "");
  host.AddFile("/sys/fs/btrfs/features/no", "");
  host.AddMounts("/dev/sda /data btrfs\n");
  EXPECT_THAT(ToDo(Of(Look(host), "use at /data")), "umount /data");
}

TEST(OddHostsTest, DisksOfZfsAreUnknown) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddMounts("tank/home /home zfs\n");
  const Finding finding = Of(Look(host), "use in ZFS");
  EXPECT_EQ(finding.verdict(), Finding::UNKNOWN);
  EXPECT_THAT(ToDo(finding), HasSubstr("zpool status"));
}

TEST(OddHostsTest, DefaultRouteOverABondIsNamed) {
  WrongHost host({Wrong::kNetworkIsUp});
  host.host().kernel().EditPaths([](fake::FakeSysfs& paths) {
    paths.AddLink(
        "/sys/devices/pci0000:02/0000:02:00.0/virtio0/net/enp2s0/master",
        "../bond0");
  });
  host.AddFile("/proc/net/route",
               "Iface\tDestination\tGateway\nbond0\t00000000\t0102A8C0\n");
  EXPECT_THAT(Of(Look(host), "use as enp2s0").what(),
              HasSubstr("as a part of bond0, and has the default route"));
}

TEST(OddHostsTest, InterfaceThatIsDownIsNoUse) {
  WrongHost host({Wrong::kNetworkIsUp});
  host.AddDeviceFile("virtio0/net/enp2s0/flags", "0x1002\n");
  EXPECT_EQ(Of(Look(host), "use as enp2s0").check(), "");
  host.AddDeviceFile("virtio0/net/enp2s0/flags", "garbage\n");
  EXPECT_EQ(Of(Look(host), "use as enp2s0").verdict(), Finding::UNKNOWN);
}

TEST(OddHostsTest, ScreenOfTheHostIsSeen) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDeviceFile("drm/card0/card0-HDMI-A-1/enabled", "disabled\n");
  host.AddDeviceFile("drm/card0/card0-DP-1/enabled", "enabled\n");
  host.AddFile("/sys/class/vtconsole/vtcon0/name", "(S) dummy device\n");
  host.AddFile("/sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n");
  const Finding finding = Of(Look(host), "use as display");
  EXPECT_THAT(finding.what(), HasSubstr("card0-DP-1"));
  EXPECT_THAT(ToDo(finding),
              AllOf(HasSubstr("echo 0 > /sys/class/vtconsole/vtcon1/bind"),
                    Not(HasSubstr("vtcon0"))));
}

// To free the group, a sibling leaves its driver. What the host does with the
// sibling is as important as what it does with the device.
TEST(OddHostsTest, UsesOfSiblingsAreNamedBeforeTheyAreUnbound) {
  WrongHost host({Wrong::kSibling});
  host.AddInterface(host.sibling(), "net", "eno1");
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "use as eno1 of 0000:02:00.1").verdict(),
            Finding::WARNING);
  ExpectInOrder(AllCommands(report),
                {"ip link set eno1 down", "0000:02:00.1/driver/unbind"});
}

TEST(OddHostsTest, SiblingWithTheRootDiskStays) {
  WrongHost host({Wrong::kSibling});
  host.AddDisk("/sys/devices/pci0000:02/0000:02:00.1/ata1/sda", {});
  host.AddMounts("/dev/sda / ext4\n");
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "use at / of 0000:02:00.1").verdict(), Finding::PROBLEM);
  EXPECT_THAT(AllCommands(report), Not(HasSubstr("unbind")));
  EXPECT_THAT(ToDo(Of(report, "group members")),
              HasSubstr("leave 0000:02:00.1"));
}

// Counts how often a path is opened or followed.
class PathCounter final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  kernel::SyscallResult<int> Open(const char* path, int flags) override {
    ++counts_[path];
    return ForwardingSyscalls::Open(path, flags);
  }
  kernel::SyscallResult<std::string> Readlink(const char* path) override {
    ++counts_[path];
    return ForwardingSyscalls::Readlink(path);
  }
  int Of(const std::string& path) { return counts_[path]; }

 private:
  std::map<std::string, int> counts_;
};

// A group may have hundreds of devices, and each is looked at for each.
TEST(OddHostsTest, UsesOfTheHostAreReadOnce) {
  WrongHost host({Wrong::kSibling, Wrong::kMounted, Wrong::kNetworkIsUp});
  host.AddDisk("/sys/devices/pci0000:02/0000:02:00.1/ata1/sda", {});
  PathCounter counter(host.syscalls());
  Examine({.syscalls = &counter, .devices = {host.device(), host.sibling()}});
  for (const char* const path :
       {"/proc/self/mountinfo", "/proc/swaps", "/proc/net/route",
        "/sys/block/sda", "/sys/block/nvme0n1", "/sys/class/net/enp2s0"}) {
    EXPECT_EQ(counter.Of(path), 1) << path;
  }
}

// VFIO's own groups of devices without an IOMMU are in the same folder.
TEST(OddHostsTest, GroupsOfTheNoIommuModeAreNoIommu) {
  WrongHost host({Wrong::kNoIommuMode});
  host.AddFile("/sys/kernel/iommu_groups/14/name", "vfio-noiommu\n");
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "IOMMU").verdict(), Finding::PROBLEM);
  EXPECT_EQ(Of(report, "IOMMU group").verdict(), Finding::PROBLEM);
  EXPECT_EQ(Of(report, "permission").verdict(), Finding::UNKNOWN);
}

TEST(OddHostsTest, IommuThatTheKernelWasToldToUseIsNotTurnedOnTwice) {
  WrongHost host({Wrong::kIommuOff});
  host.AddFile("/proc/cmdline", "ro intel_iommu=on,sm_on\n");
  const std::string commands = ToDo(Of(Look(host), "IOMMU"));
  EXPECT_THAT(commands, AllOf(HasSubstr("firmware"), HasSubstr("dmesg"),
                              Not(HasSubstr("intel_iommu"))));
}

TEST(OddHostsTest, AmdNeedsTheFirmwareOnly) {
  WrongHost host({Wrong::kIommuOff});
  host.AddFile("/proc/cpuinfo", "vendor_id\t: AuthenticAMD\n");
  host.AddFile("/proc/cmdline", "ro amd_iommu=off\n");
  const std::string commands = ToDo(Of(Look(host), "IOMMU"));
  EXPECT_THAT(commands,
              AllOf(HasSubstr("AMD-Vi"), HasSubstr("\\<amd_iommu=off\\>"),
                    Not(HasSubstr("intel_iommu"))));
}

TEST(OddHostsTest, RemappingThatTheCommandLineTurnsOffIsNamed) {
  WrongHost host({Wrong::kNoRemapping, Wrong::kHostDriver});
  host.AddFile("/proc/cmdline", "ro intremap=off\n");
  const Finding finding = Of(Look(host), "interrupt remapping");
  EXPECT_EQ(finding.verdict(), Finding::PROBLEM);
  EXPECT_THAT(ToDo(finding), HasSubstr("s/\\<intremap=off\\>//"));
}

TEST(OddHostsTest, MachineWithoutKnownControllersLeavesRemappingUnknown) {
  WrongHost host({Wrong::kHostDriver});
  host.AddFile("/proc/interrupts", "  1:  9  GICv3  27 Level  arch_timer\n");
  EXPECT_EQ(Of(Look(host), "interrupt remapping").verdict(), Finding::UNKNOWN);
}

// The kernel refuses such a device with the errno of missing remapping.
TEST(OddHostsTest, FirmwaresMemoryIsNotTakenForMissingRemapping) {
  WrongHost host({Wrong::kFirmwareMemory, Wrong::kNoRemapping});
  host.AddFile("/proc/interrupts", "  1:  9  IR-IO-APIC  1-edge  i8042\n");
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "firmware's memory").verdict(), Finding::PROBLEM);
  EXPECT_EQ(Of(report, "interrupt remapping").verdict(), Finding::OK);
  EXPECT_EQ(Of(report, "DMA addresses").verdict(), Finding::UNKNOWN);
}

TEST(OddHostsTest, ContainerWithoutTheGroupsFileIsNotToldToBind) {
  for (const int error : {ENOENT, EPERM}) {
    WrongHost host({});
    host.host().kernel().SetOpenError("/dev/vfio/14", error);
    const Finding finding = Of(Look(host), "permission");
    EXPECT_EQ(finding.verdict(), Finding::PROBLEM);
    EXPECT_THAT(finding.what(),
                AllOf(HasSubstr("this container"), Not(HasSubstr("noiommu"))));
    EXPECT_THAT(ToDo(finding), HasSubstr("--device=/dev/vfio/14"));
  }
}

TEST(OddHostsTest, AudioOfAChipsetIsNoPartOfAGpu) {
  for (const std::string_view first : {"0x060100\n", "0x030000\n"}) {
    WrongHost host({Wrong::kSibling});
    host.AddSiblingFile("class", "0x040300\n");
    host.AddDeviceFile("class", std::string(first));
    const Report report =
        Examine({.syscalls = host.syscalls(), .devices = {host.sibling()}});
    EXPECT_EQ(Of(report, "class").what().find("audio part of the GPU") !=
                  std::string::npos,
              absl::StartsWith(first, "0x03"));
  }
}

TEST(OddHostsTest, ControlGroupLimitsMemory) {
  WrongHost host({});
  host.AddFile("/proc/self/cgroup", "0::/machine.slice/vm.scope\n");
  host.AddFile("/sys/fs/cgroup/machine.slice/vm.scope/memory.max", "max\n");
  host.AddFile("/sys/fs/cgroup/machine.slice/memory.max", "1073741824\n");
  const Finding finding = Of(Look(host), "memory");
  EXPECT_EQ(finding.verdict(), Finding::PROBLEM);
  EXPECT_THAT(finding.what(), HasSubstr("may have 1 GiB"));
  EXPECT_THAT(finding.known_by(),
              ElementsAre("/sys/fs/cgroup/machine.slice/memory.max = "
                          "1073741824"));
}

// In a cgroup namespace of its own a process is in the root.
TEST(OddHostsTest, RootControlGroupOfANamespaceLimitsMemory) {
  for (const std::string_view group : {"0::/\n", "0::/vm.scope\n"}) {
    WrongHost host({});
    host.AddFile("/proc/self/cgroup", std::string(group));
    EXPECT_EQ(Of(Look(host), "memory").verdict(), Finding::OK);
    host.AddFile("/sys/fs/cgroup/memory.max", "1073741824\n");
    EXPECT_THAT(Of(Look(host), "memory").what(), HasSubstr("may have 1 GiB"));
  }
}

TEST(OddHostsTest, InterruptsOfALargeHostAreReadToTheEnd) {
  WrongHost host({Wrong::kHostDriver});
  const std::string line = absl::StrCat(std::string(1023, '0'), "\n");
  std::string text;
  for (int i = 0; i < 100; ++i) text += line;
  text += "  1:  9  IR-IO-APIC  1-edge  i8042\n";
  host.AddFile("/proc/interrupts", text);
  EXPECT_EQ(Of(Look(host), "interrupt remapping").verdict(), Finding::OK);
}

TEST(OddHostsTest, TooManyMountsAreUnknown) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddFile("/proc/self/mountinfo", std::string(16 << 20, 'x'));
  const Finding finding = Of(Look(host), "use of its disks");
  EXPECT_EQ(finding.verdict(), Finding::UNKNOWN);
  EXPECT_THAT(finding.known_by(), ElementsAre("/proc/self/mountinfo: EFBIG"));
}

// Whoever gives all commands in their order must not accept the risk by that.
TEST(OddHostsTest, RiskOfForgedInterruptsIsAcceptedByHandOnly) {
  WrongHost host({Wrong::kNoRemapping, Wrong::kHostDriver});
  host.AddFile("/proc/cmdline", "ro nointremap intremap=off\n");
  const Finding finding = Of(Look(host), "interrupt remapping");
  size_t updates = 0;
  for (const std::string& command : finding.to_do()) {
    updates += absl::StartsWith(command, "update-grub") ? 1 : 0;
    if (absl::StrContains(command, "vfio_iommu_type1")) {
      EXPECT_TRUE(absl::StartsWith(command, "# ")) << command;
    }
  }
  EXPECT_EQ(updates, 1u);
  ExpectInOrder(ToDo(finding), {"<nointremap", "<intremap=off", "update-grub",
                                "# modprobe", "# echo 1 > "});
}

TEST(OddHostsTest, WordsThatTheCommandLineHasAreNotAdvisedAgain) {
  WrongHost host({Wrong::kConsole, Wrong::kUnplacedBar});
  const Report before = Look(host);
  EXPECT_EQ(Of(before, "use as console").verdict(), Finding::WARNING);
  EXPECT_THAT(ToDo(Of(before, "BARs")), HasSubstr("pci=realloc"));
  host.AddFile("/proc/cmdline",
               "ro initcall_blacklist=one,sysfb_init pci=noats,realloc\n");
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "use as console").verdict(), Finding::NOTE);
  EXPECT_EQ(ToDo(Of(report, "use as console")), "");
  // VFIO still shows none of it.
  EXPECT_EQ(Of(report, "BARs").verdict(), Finding::PROBLEM);
  EXPECT_EQ(ToDo(Of(report, "BARs")),
            "# enable \"above 4G decoding\" in the firmware's setup");
}

TEST(OddHostsTest, CommandLineIsChangedInEitherQuotesAndByGrubby) {
  WrongHost host({Wrong::kIommuOff, Wrong::kAcsOverride});
  const Report report = Look(host);
  EXPECT_THAT(
      ToDo(Of(report, "IOMMU")),
      AllOf(HasSubstr("sed -i \"s/^GRUB_CMDLINE_LINUX=[\\\"']/&intel_iommu=on "
                      "/\" /etc/default/grub"),
            HasSubstr("\n# Fedora, RHEL: grubby --update-kernel=ALL "
                      "--args=intel_iommu=on\n")));
  EXPECT_THAT(ToDo(Of(report, "isolation")),
              HasSubstr("\n# Fedora, RHEL: grubby --update-kernel=ALL "
                        "--remove-args=pcie_acs_override=downstream\n"));
}

TEST(OddHostsTest, HugePagesAreMemoryOfGuests) {
  WrongHost host({});
  constexpr std::string_view kInfo =
      "MemTotal: 8000000 kB\nMemAvailable: 1000 kB\n";
  host.AddFile("/proc/meminfo", std::string(kInfo));
  EXPECT_EQ(Of(Look(host), "memory").verdict(), Finding::WARNING);
  host.AddFile(
      "/proc/meminfo",
      absl::StrCat(kInfo, "HugePages_Free: 2048\nHugepagesize: 2048 kB\n"));
  EXPECT_EQ(Of(Look(host), "memory").verdict(), Finding::OK);
}

TEST(OddHostsTest, LimitIsRaisedInTheUsersShellWithoutSudoOnlyByRoot) {
  WrongHost host({Wrong::kLockedMemory});
  EXPECT_THAT(ToDo(Of(Look(host), "locked memory")),
              HasSubstr("sudo prlimit --pid $$"));
  host.AddFile("/proc/self/status",
               "Uid:\t0\t0\t0\t0\nVmLck:\t    1048576 kB\nCapEff:\t0\n");
  const Finding finding = Of(Look(host), "locked memory");
  EXPECT_THAT(ToDo(finding),
              AllOf(Not(HasSubstr("sudo")), HasSubstr("--memlock=5368709120")));
  EXPECT_THAT(finding.what(), HasSubstr("of which 1 GiB are used"));
}

TEST(OddHostsTest, BarThatIsLargerThanAGuestIsNoDevice) {
  WrongHost host({});
  host.AddDeviceFile(
      "resource", "0x0000000000000000 0x0000003fffffffff 0x000000000014220c\n");
  const Finding finding = Of(Look(host), "BARs");
  EXPECT_EQ(finding.verdict(), Finding::PROBLEM);
  EXPECT_THAT(finding.what(), HasSubstr("BAR0 of 256 GiB has no room"));
}

TEST(OddHostsTest, ResetOfTheBusNamesWhoElseIsThere) {
  WrongHost host({Wrong::kSibling});
  host.host().kernel().EditPaths([](fake::FakeSysfs& paths) {
    for (const std::string_view name : {"0000:02:00.0", "0000:02:00.1"}) {
      const std::string bridge = "/sys/devices/pci0000:00/0000:00:1c.0";
      paths.AddLink("/sys/bus/pci/devices/0000:00:1c.0",
                    "../../../devices/pci0000:00/0000:00:1c.0");
      paths.AddFile(
          absl::StrCat(bridge, "/", name, "/config"),
          std::string("\x36\x1b\x10\x00", 4) + std::string(252, '\0'));
      paths.AddFile(absl::StrCat(bridge, "/", name, "/class"), "0x010802\n");
      paths.AddLink(
          absl::StrCat("/sys/bus/pci/devices/", name),
          absl::StrCat("../../../devices/pci0000:00/0000:00:1c.0/", name));
    }
  });
  EXPECT_THAT(Of(Look(host), "reset").what(),
              HasSubstr("gets all of its bus: 0000:02:00.1"));
}

TEST(OddHostsTest, DeviceOnARootBusHasNoResetOfItsBus) {
  WrongHost host({Wrong::kNoReset});
  host.AddDeviceFile(
      "config", std::string("\x36\x1b\x10\x00", 4) + std::string(252, '\0'));
  EXPECT_THAT(Of(Look(host), "reset").what(), HasSubstr("is a root bus"));
}

TEST(OddHostsTest, SleepingDeviceIsWokenFirst) {
  WrongHost host({Wrong::kDead});
  host.AddDeviceFile("power_state", "D3cold\n");
  const Report report = Look(host);
  EXPECT_THAT(ToDo(Of(report, "type")),
              testing::StartsWith("echo on > /sys/bus/pci/devices/"
                                  "0000:02:00.0/power/control\necho 1 > "));
  EXPECT_THAT(Of(report, "power").what(), HasSubstr("sleeps in D3cold"));
}

TEST(OddHostsTest, WhatIsWrittenInAFileIsNeverMarkupOfTheTerminal) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddMounts("/dev/nvme0n1 /mnt/caf\xe9;reboot ext4\n");
  host.AddDeviceFile("power_state", "\x1b[2J\xff\n");
  const Report report = Look(host);
  EXPECT_THAT(Of(report, "power").what(), HasSubstr("\\033[2J\\377"));
  EXPECT_EQ(ToDo(Of(report, "use at /mnt/caf\\351;reboot")),
            "umount $'/mnt/caf\\351;reboot'");
}

TEST(OddHostsTest, FilesThatCannotBeReadAreUnknown) {
  WrongHost host({});
  for (const std::string_view name : {"config", "class", "reset_method"}) {
    host.host().kernel().SetOpenError(
        absl::StrCat("/sys/bus/pci/devices/0000:02:00.0/", name), EACCES);
  }
  const Report report = Look(host);
  EXPECT_EQ(Of(report, "type").verdict(), Finding::UNKNOWN);
  EXPECT_EQ(Of(report, "reset").verdict(), Finding::UNKNOWN);
  EXPECT_THAT(report.devices(0).identity(),
              HasSubstr("of a class that cannot be read"));
}

TEST(OddHostsTest, VariantDriverIsEnough) {
  WrongHost host({Wrong::kNoVfioPci});
  host.host().kernel().EditPaths([](fake::FakeSysfs& paths) {
    paths.AddDirectory("/sys/bus/pci/drivers/mlx5-vfio-pci");
  });
  EXPECT_EQ(Of(Look(host), "vfio-pci").verdict(), Finding::NOTE);
}

TEST(OddHostsTest, MessagesNameTheActor) {
  WrongHost host({Wrong::kNoIommuMode});
  host.AddFile("/sys/kernel/iommu_groups/14/name", "vfio-noiommu\n");
  EXPECT_THAT(Of(Look(host), "IOMMU group").what(),
              HasSubstr("keeps no device from the host's memory"));
  WrongHost without({Wrong::kIommuOff});
  EXPECT_THAT(Of(Look(without), "group members").what(),
              HasSubstr("no other device can be in it"));
  const Report absent = Examine(
      {.syscalls = host.syscalls(), .devices = {pci::Bdf(0, 0x7f, 0, 0)}});
  EXPECT_THAT(Of(absent, "device").what(),
              HasSubstr("a virtual function that the host has not made"));
}

// Every name in a list is there once, so that programs can look for it.
TEST(OddHostsTest, ChecksAreUnique) {
  WrongHost host({Wrong::kMounted, Wrong::kSwap, Wrong::kRaid, Wrong::kSibling,
                  Wrong::kLogicalVolume, Wrong::kNoRemapping});
  host.AddHolder("nvme0n1p4", "md0", {});
  const Report report = Look(host);
  std::set<std::string> seen;
  for (const Finding& finding : report.devices(0).findings()) {
    EXPECT_TRUE(seen.insert(finding.check()).second) << finding.check();
  }
}

}  // namespace
}  // namespace passthru::doctor
