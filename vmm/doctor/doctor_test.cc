// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/doctor.h"

#include <cstdint>
#include <iostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/wrong_host.h"

namespace passthru::doctor {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// What the doctor must say of one wrong thing.
struct Expected {
  Wrong wrong;
  bool host;  // whether the finding is about the host
  std::string_view check;
  Finding::Verdict verdict;
  std::string_view what;     // a part of it
  std::string_view command;  // a part of what to do, if there is something
  // Things that cannot be seen because of this one. The doctor must say that
  // it does not know.
  std::set<Wrong> hides;
};

const std::set<Wrong> kSeenInGroup = {Wrong::kNarrowIommu};
const std::set<Wrong> kSeenByUser = {Wrong::kGroupForbidden, Wrong::kGroupBusy,
                                     Wrong::kNarrowIommu};

// The host uses the device, by its driver.
const std::set<Wrong> kUses = {Wrong::kMounted,       Wrong::kSwap,
                               Wrong::kLogicalVolume, Wrong::kRaid,
                               Wrong::kRootDisk,      Wrong::kNetworkIsUp};
const std::set<Wrong> kWithoutDriver = {Wrong::kNoDriver, Wrong::kNoVfioPci};

const std::vector<Expected>& AllExpected() {
  static const auto* const all = new std::vector<Expected>{
      {Wrong::kIommuOff,
       true,
       "IOMMU",
       Finding::PROBLEM,
       "is off",
       "intel_iommu=on",
       {Wrong::kSibling, Wrong::kFirmwareMemory, Wrong::kGroupForbidden,
        Wrong::kGroupBusy, Wrong::kNoRemapping, Wrong::kNarrowIommu}},
      {Wrong::kNoVfioPci, true, "vfio-pci", Finding::PROBLEM, "is not loaded",
       "modprobe vfio-pci", kSeenByUser},
      {Wrong::kNoContainer, true, "/dev/vfio/vfio", Finding::PROBLEM,
       "there is no /dev/vfio/vfio", "c 10 196", kSeenInGroup},
      {Wrong::kContainerForbidden, true, "/dev/vfio/vfio", Finding::PROBLEM,
       "no permission to open /dev/vfio/vfio", "chmod 0666 /dev/vfio/vfio",
       kSeenInGroup},
      {Wrong::kNoKvm,
       true,
       "/dev/kvm",
       Finding::PROBLEM,
       "there is no /dev/kvm",
       "modprobe kvm_intel",
       {}},
      {Wrong::kKvmForbidden,
       true,
       "/dev/kvm",
       Finding::PROBLEM,
       "no permission to open /dev/kvm",
       "usermod -aG kvm ada",
       {}},
      {Wrong::kUnsafeInterrupts,
       true,
       "forged interrupts",
       Finding::WARNING,
       "a guest can attack the host",
       "allow_unsafe_interrupts",
       {}},
      {Wrong::kNoRemapping,
       false,
       "interrupt remapping",
       Finding::PROBLEM,
       "forge interrupts",
       "allow_unsafe_interrupts",
       {Wrong::kNarrowIommu}},
      {Wrong::kNoIommuMode,
       true,
       "no-IOMMU mode",
       Finding::WARNING,
       "is on",
       "enable_unsafe_noiommu_mode",
       {}},
      {Wrong::kLockedMemory,
       true,
       "locked memory",
       Finding::PROBLEM,
       "may be 8 MiB, but DMA locks all of a guest of 4 GiB",
       "--memlock=4294967296",
       {}},
      {Wrong::kDescriptors,
       true,
       "descriptors",
       Finding::PROBLEM,
       "may be 200",
       "--nofile=65536",
       {}},
      {Wrong::kNoHostVectors,
       true,
       "host vectors",
       Finding::PROBLEM,
       "are all taken",
       "/proc/interrupts",
       {}},
      {Wrong::kFewHostVectors,
       false,
       "interrupts",
       Finding::WARNING,
       "the host has 3 left",
       "",
       {}},
      {Wrong::kDead,
       false,
       "type",
       Finding::PROBLEM,
       "it does not answer",
       "/sys/bus/pci/rescan",
       {Wrong::kFewHostVectors}},
      {Wrong::kHostDriver, false, "driver", Finding::PROBLEM,
       "it is bound to nvme", "driver_override", kSeenByUser},
      {Wrong::kNoDriver, false, "driver", Finding::PROBLEM,
       "it is bound to no driver", "drivers_probe", kSeenByUser},
      {Wrong::kNoReset,
       false,
       "reset",
       Finding::WARNING,
       "its function level reset is turned off",
       "echo default > /sys/bus/pci/devices/0000:02:00.0/reset_method",
       {}},
      {Wrong::kUnplacedBar,
       false,
       "BARs",
       Finding::PROBLEM,
       "no address for BAR0",
       "pci=realloc",
       {}},
      {Wrong::kPowerError,
       false,
       "power",
       Finding::WARNING,
       "could not change its power state",
       "disable_idle_d3",
       {}},
      {Wrong::kVirtualFunctions,
       false,
       "SR-IOV",
       Finding::WARNING,
       "it has 4 virtual functions",
       "sriov_numvfs",
       {}},
      {Wrong::kMounted, false, "use at /srv", Finding::WARNING,
       "/dev/nvme0n1p2 is mounted on /srv", "umount /srv", kSeenByUser},
      {Wrong::kSwap, false, "use as swap", Finding::WARNING,
       "/dev/nvme0n1p3 is swap space", "swapoff /dev/nvme0n1p3", kSeenByUser},
      {Wrong::kLogicalVolume, false, "use in vg-home", Finding::WARNING,
       "/dev/nvme0n1p4 is a part of the logical volume /dev/mapper/vg-home",
       "lvchange --activate n /dev/mapper/vg-home", kSeenByUser},
      {Wrong::kRaid, false, "use in md0", Finding::WARNING,
       "/dev/nvme0n1p5 is a part of the RAID array /dev/md0",
       "mdadm --stop /dev/md0", kSeenByUser},
      {Wrong::kConsole,
       false,
       "use as console",
       Finding::WARNING,
       "console is on it",
       "sysfb_init",
       {}},
      {Wrong::kSibling, false, "group members", Finding::PROBLEM,
       "0000:02:00.1 by e1000e", "0000:02:00.1/driver/unbind", kSeenInGroup},
      {Wrong::kFirmwareMemory,
       false,
       "firmware's memory",
       Finding::PROBLEM,
       "0x000000007b800000",
       "firmware's setup",
       {}},
      {Wrong::kGroupForbidden, false, "permission", Finding::PROBLEM,
       "no permission to open /dev/vfio/14", "chown ada /dev/vfio/14",
       kSeenInGroup},
      {Wrong::kGroupBusy, false, "permission", Finding::PROBLEM,
       "is in use by another process", "fuser -v /dev/vfio/14", kSeenInGroup},
      {Wrong::kNarrowIommu,
       false,
       "DMA addresses",
       Finding::PROBLEM,
       "reaches up to 2 GiB, and not all of a guest of 4 GiB",
       "less memory",
       {}},
      {Wrong::kNoMemory,
       true,
       "memory",
       Finding::PROBLEM,
       "in all, and DMA pins all of a guest of 4 GiB",
       "less memory",
       {}},
      {Wrong::kAcsOverride,
       true,
       "isolation",
       Finding::WARNING,
       "does not keep apart",
       "pcie_acs_override=downstream",
       {}},
      {Wrong::kRootDisk, false, "use at /", Finding::PROBLEM,
       "the host runs from it", "another disk", kSeenByUser},
      {Wrong::kNetworkIsUp, false, "use as enp2s0", Finding::WARNING,
       "the network interface enp2s0 is up", "ip link set enp2s0 down",
       kSeenByUser},
  };
  return *all;
}

Report ExamineWith(const std::set<Wrong>& wrong) {
  WrongHost host(wrong);
  return Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
}

const Finding* Find(const Report& report, bool host, std::string_view check) {
  const auto& findings = host ? report.host() : report.devices(0).findings();
  for (const Finding& finding : findings) {
    if (finding.check() == check) return &finding;
  }
  return nullptr;
}

std::string Commands(const Finding& finding) {
  return absl::StrJoin(finding.to_do(), "\n");
}

void ExpectFound(const Report& report, const Expected& expected,
                 bool is_hidden) {
  SCOPED_TRACE(std::string(expected.check));
  const Finding* const finding = Find(report, expected.host, expected.check);
  ASSERT_NE(finding, nullptr);
  if (is_hidden) {
    EXPECT_EQ(finding->verdict(), Finding::UNKNOWN) << finding->what();
    EXPECT_FALSE(finding->what().empty());
    return;
  }
  EXPECT_EQ(finding->verdict(), expected.verdict) << finding->what();
  EXPECT_THAT(finding->what(), HasSubstr(std::string(expected.what)));
  EXPECT_FALSE(finding->known_by().empty());
  EXPECT_THAT(Commands(*finding), HasSubstr(std::string(expected.command)));
}

// Returns the checks that have a problem or a warning.
std::set<std::string> Bad(const Report& report) {
  std::set<std::string> bad;
  const auto add = [&bad](const Finding& finding) {
    if (finding.verdict() >= Finding::WARNING) bad.insert(finding.check());
  };
  for (const Finding& finding : report.host()) add(finding);
  for (const Finding& finding : report.devices(0).findings()) add(finding);
  return bad;
}

TEST(DoctorTest, NothingIsWrong) {
  const Report report = ExamineWith({});
  EXPECT_THAT(Bad(report), IsEmpty());
  EXPECT_TRUE(report.devices(0).ready());
  EXPECT_EQ(report.devices(0).identity(), "1b36:0010 NVMe controller [010802]");
  EXPECT_THAT(Find(report, true, "IOMMU")->what(),
              HasSubstr("Intel VT-d, 1 group, the host's own devices in mode "
                        "DMA-FQ"));
}

// Each wrong thing is found, and nothing else but what comes with it.
TEST(DoctorTest, OneThingIsWrong) {
  for (const Expected& expected : AllExpected()) {
    const Report report = ExamineWith({expected.wrong});
    ExpectFound(report, expected, /*is_hidden=*/false);
    std::set<std::string> more = Bad(report);
    more.erase(std::string(expected.check));
    switch (expected.wrong) {
      case Wrong::kLogicalVolume:
        EXPECT_EQ(more.erase("use at /home"), 1u);
        EXPECT_EQ(more.erase("driver"), 1u);
        break;
      case Wrong::kNoVfioPci:
      case Wrong::kMounted:
      case Wrong::kSwap:
      case Wrong::kRaid:
      case Wrong::kRootDisk:
      case Wrong::kNetworkIsUp:
        EXPECT_EQ(more.erase("driver"), 1u);
        break;
      case Wrong::kIommuOff:
        EXPECT_EQ(more.erase("IOMMU group"), 1u);
        break;
      case Wrong::kNoHostVectors:
        EXPECT_EQ(more.erase("interrupts"), 1u);
        break;
      case Wrong::kDescriptors:
        EXPECT_EQ(more.erase("interrupts"), 1u);
        break;
      default:
        break;
    }
    EXPECT_THAT(more, IsEmpty()) << expected.check;
    EXPECT_EQ(report.devices(0).ready(), expected.verdict != Finding::PROBLEM &&
                                             !kUses.contains(expected.wrong))
        << expected.check;
  }
}

// Returns what the doctor must say of a wrong thing beside another.
Expected Beside(Expected one, Wrong other) {
  // The user has accepted the risk.
  if (one.wrong == Wrong::kNoRemapping && other == Wrong::kUnsafeInterrupts) {
    one.verdict = Finding::WARNING;
    one.what = "told to accept that";
    one.command = "firmware's setup";
  }
  if (one.wrong == Wrong::kNoContainer && other == Wrong::kNoVfioPci) {
    one.command = "modprobe vfio-pci";
  }
  // What a device that does not answer has is unknown.
  if (one.wrong == Wrong::kNoReset && other == Wrong::kDead) {
    one.what = "it cannot be reset by itself";
    one.command = "";
  }
  // Nothing can be ended while the host runs from the disk.
  if (other == Wrong::kRootDisk && kUses.contains(one.wrong) &&
      one.wrong != Wrong::kNetworkIsUp) {
    one.command = "";
  }
  if (other == Wrong::kRootDisk && one.wrong == Wrong::kHostDriver) {
    one.command = "# leave it";
  }
  return one;
}

// Returns whether the two change the same thing, so that a host has only one.
bool Exclude(const Expected& a, const Expected& b) {
  const std::set<std::set<Wrong>> same = {
      {Wrong::kNoDriver, Wrong::kHostDriver},
      {Wrong::kNoVfioPci, Wrong::kHostDriver},
      {Wrong::kNoHostVectors, Wrong::kFewHostVectors}};
  return (a.host == b.host && a.check == b.check && a.wrong != b.wrong &&
          a.check != "driver") ||
         same.contains({a.wrong, b.wrong}) ||
         (kUses.contains(a.wrong) && kWithoutDriver.contains(b.wrong)) ||
         (kUses.contains(b.wrong) && kWithoutDriver.contains(a.wrong));
}

TEST(DoctorTest, TwoThingsAreWrong) {
  int pairs = 0;
  const std::vector<Expected>& all = AllExpected();
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = i + 1; j < all.size(); ++j) {
      const Expected& a = all[i];
      const Expected& b = all[j];
      if (Exclude(a, b)) continue;
      SCOPED_TRACE(absl::StrCat(a.check, " and ", b.check));
      const Report report = ExamineWith({a.wrong, b.wrong});
      ExpectFound(report, Beside(a, b.wrong), b.hides.contains(a.wrong));
      ExpectFound(report, Beside(b, a.wrong), a.hides.contains(b.wrong));
      ++pairs;
    }
  }
  EXPECT_GT(pairs, 300);
  std::cout << "COUNT: " << pairs << " pairs of wrong things found by doctor\n";
}

// Returns the device's findings on its use by the host, each as "check: what".
std::vector<std::string> Uses(WrongHost& host) {
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  std::vector<std::string> uses;
  for (const Finding& finding : report.devices(0).findings()) {
    if (!absl::StartsWith(finding.check(), "use ")) continue;
    uses.push_back(absl::StrCat(finding.check(), ": ", finding.what()));
  }
  return uses;
}

TEST(DoctorTest, DisksOfASataControllerAreSeen) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("ata1/host0/target0:0:0/0:0:0:0/block/sda", {"sda1"});
  host.AddDisk("/sys/devices/pci0000:00/0000:00:1f.2/ata2/block/sdb", {"sdb1"});
  host.AddMounts(
      "/dev/sda1 /mnt/my\\040disk ext4\n"
      "/dev/sdb1 /other ext4\n");
  EXPECT_THAT(Uses(host),
              ElementsAre("use at /mnt/my disk: the host uses it: /dev/sda1 is "
                          "mounted on /mnt/my disk"));
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  EXPECT_EQ(Commands(*Find(report, false, "use at /mnt/my disk")),
            "umount '/mnt/my disk'");
}

TEST(DoctorTest, NamespacesWithSeveralPathsAreTheControllers) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDeviceFile("nvme/nvme3/model", "a disk\n");
  host.AddFile("/sys/class/nvme-subsystem/nvme-subsys1/nvme3/state", "live\n");
  host.AddFile("/sys/class/nvme-subsystem/nvme-subsys2/nvme4/state", "live\n");
  const std::string folder = "/sys/devices/virtual/nvme-subsystem/";
  host.AddDisk(folder + "nvme-subsys1/nvme1n1", {});
  host.AddDisk(folder + "nvme-subsys2/nvme2n1", {});
  host.AddMounts(
      "/dev/nvme1n1 /ours ext4\n"
      "/dev/nvme2n1 /others ext4\n");
  EXPECT_THAT(Uses(host),
              ElementsAre("use at /ours: the host uses it: /dev/nvme1n1 is "
                          "mounted on /ours"));
}

// A volume in an encrypted one in a RAID array of two partitions, with swap
// space. What comes first in the list has to go first.
TEST(DoctorTest, WhatIsBuiltOnADiskComesApartFromTheTop) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {"nvme0n1p1", "nvme0n1p2"});
  host.AddHolder("nvme0n1p1", "md0", {{"md/level", "raid1\n"}});
  host.AddHolder("nvme0n1p2", "md0", {{"md/level", "raid1\n"}});
  host.AddHolder("md0", "dm-0",
                 {{"dm/name", "safe\n"}, {"dm/uuid", "CRYPT-LUKS2-1\n"}});
  host.AddHolder("dm-0", "dm-1",
                 {{"dm/name", "vg-swap\n"}, {"dm/uuid", "LVM-1\n"}});
  host.AddFile("/proc/swaps", "Filename Type\n/dev/dm-1 partition 1 0 -2\n");
  EXPECT_THAT(
      Uses(host),
      ElementsAre(
          "use as swap: the host uses it: /dev/dm-1 is swap space",
          "use in vg-swap: the host uses it: /dev/mapper/safe is a part of the "
          "logical volume /dev/mapper/vg-swap",
          "use in safe: the host uses it: /dev/md0 is a part of the encrypted "
          "volume /dev/mapper/safe",
          "use in md0: the host uses it: /dev/nvme0n1p2, /dev/nvme0n1p1 is a "
          "part of the RAID array /dev/md0"));
}

// What is mounted below something has to go before it, whatever the disks are.
TEST(DoctorTest, NestedMountsComeFromTheInside) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {"nvme0n1p1", "nvme0n1p2"});
  host.AddMounts(
      "/dev/nvme0n1p2 /srv ext4\n"
      "/dev/nvme0n1p1 /srv/data ext4\n"
      "/dev/nvme0n1p2 /srv/data/more ext4\n");
  EXPECT_THAT(Uses(host), ElementsAre(HasSubstr("mounted on /srv/data/more"),
                                      HasSubstr("mounted on /srv/data"),
                                      HasSubstr("mounted on /srv")));
}

TEST(DoctorTest, PartitionsOfARaidArrayAreSeen) {
  WrongHost host({Wrong::kHostDriver});
  host.AddDisk("nvme/nvme0/nvme0n1", {"nvme0n1p1"});
  host.AddHolder("nvme0n1p1", "md126",
                 {{"md/level", "raid1\n"}, {"md126p1/partition", "1\n"}});
  host.AddMounts("/dev/md126p1 /srv ext4\n");
  EXPECT_THAT(Uses(host), ElementsAre(HasSubstr("mounted on /srv"),
                                      HasSubstr("the RAID array /dev/md126")));
}

TEST(DoctorTest, DisksOfADeviceThatVfioHasAreNotTheHosts) {
  WrongHost host({});
  host.AddDisk("nvme/nvme0/nvme0n1", {});
  host.AddMounts("/dev/nvme0n1 /srv ext4\n");
  EXPECT_THAT(Uses(host), IsEmpty());
}

TEST(DoctorTest, AHostThatDoesNotShowItsDisksLeavesTheirUseUnknown) {
  WrongHost host({Wrong::kHostDriver});
  host.host().kernel().EditPaths(
      [](fake::FakeSysfs& paths) { paths.Remove("/sys/block"); });
  EXPECT_THAT(Uses(host),
              ElementsAre("use of its disks: whether the host uses its disks "
                          "cannot be seen"));
}

TEST(DoctorTest, BridgesOfTheGroupAreNamedApart) {
  WrongHost host({Wrong::kSibling});
  host.AddBridgeToGroup();
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  const Finding& finding = *Find(report, false, "group members");
  EXPECT_THAT(finding.what(),
              HasSubstr("(and of 0000:00:1c.0, a bridge, which stays with the "
                        "host)"));
  EXPECT_THAT(Commands(finding), Not(HasSubstr("0000:00:1c.0")));
}

TEST(DoctorTest, BridgeIsNoDeviceForAGuest) {
  WrongHost host({});
  host.AddBridgeToGroup();
  const Report report = Examine(
      {.syscalls = host.syscalls(), .devices = {pci::Bdf(0, 0, 0x1c, 0)}});
  ASSERT_EQ(report.devices(0).findings_size(), 1);
  EXPECT_EQ(report.devices(0).findings(0).verdict(), Finding::PROBLEM);
  EXPECT_FALSE(report.devices(0).ready());
  EXPECT_TRUE(report.devices(0).stays());
}

TEST(DoctorTest, ThereIsNoSuchDevice) {
  WrongHost host({});
  const Report report = Examine(
      {.syscalls = host.syscalls(), .devices = {pci::Bdf(0, 0x7f, 0, 0)}});
  EXPECT_EQ(Find(report, false, "device")->verdict(), Finding::PROBLEM);
  EXPECT_FALSE(report.devices(0).ready());
}

TEST(DoctorTest, WithoutNamesItLooksAtAllDevices) {
  WrongHost host({Wrong::kSibling});
  const Report report = Examine({.syscalls = host.syscalls()});
  ASSERT_EQ(report.devices_size(), 2);
  EXPECT_EQ(report.devices(0).address(), "0000:02:00.0");
  EXPECT_EQ(report.devices(1).address(), "0000:02:00.1");
}

TEST(DoctorTest, SiblingWithoutDriverIsNoProblem) {
  WrongHost host({Wrong::kSibling});
  ASSERT_TRUE(host.host().vfio().SetDriver(pci::Bdf(0, 2, 0, 1), "").ok());
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  EXPECT_EQ(Find(report, false, "group members")->verdict(), Finding::NOTE);
  EXPECT_TRUE(report.devices(0).ready());
}

// The limit does not bind a user who has CAP_IPC_LOCK.
TEST(DoctorTest, PrivilegedUserLocksAllMemory) {
  WrongHost host({Wrong::kLockedMemory});
  host.AddFile("/proc/self/status", "CapEff:\t0000000000004000\n");
  const Report report = Examine({.syscalls = host.syscalls()});
  EXPECT_EQ(Find(report, true, "locked memory")->verdict(), Finding::OK);
}

TEST(DoctorTest, SmallGuestFitsWhereALargeOneDoesNot) {
  WrongHost host({Wrong::kNarrowIommu});
  const Report report = Examine({.syscalls = host.syscalls(),
                                 .devices = {host.device()},
                                 .guest_memory = uint64_t{1} << 30});
  EXPECT_NE(Find(report, false, "DMA addresses")->verdict(), Finding::PROBLEM);
}

TEST(DoctorTest, CommandLineThatTurnsTheIommuOffIsNamed) {
  WrongHost host({Wrong::kIommuOff});
  host.AddFile("/proc/cmdline", "ro intel_iommu=off\n");
  const Report report = Examine({.syscalls = host.syscalls()});
  const Finding& finding = *Find(report, true, "IOMMU");
  EXPECT_THAT(finding.known_by(), Contains("/proc/cmdline: intel_iommu=off"));
  EXPECT_THAT(Commands(finding), HasSubstr("\\<intel_iommu=off\\>"));
}

TEST(DoctorTest, VirtualMachineNeedsAnIommuOfItsHypervisor) {
  WrongHost host({Wrong::kIommuOff});
  host.AddFile("/proc/cpuinfo",
               "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n");
  const Report report = Examine({.syscalls = host.syscalls()});
  EXPECT_THAT(Commands(*Find(report, true, "IOMMU")),
              HasSubstr("its hypervisor must give it an IOMMU"));
}

// An ordinary user reads 64 bytes of the configuration space and no debugfs.
TEST(DoctorTest, WhatTheUserMayNotReadIsUnknown) {
  WrongHost host({});
  host.AddDeviceFile(
      "config", std::string("\x36\x1b\x10\x00", 4) + std::string(60, '\0'));
  host.host().kernel().SetOpenError("/sys/kernel/debug/irq/domains/VECTOR", 13);
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  EXPECT_THAT(Bad(report), IsEmpty());
  const Finding& vectors = *Find(report, true, "host vectors");
  EXPECT_EQ(vectors.verdict(), Finding::UNKNOWN);
  EXPECT_THAT(vectors.known_by(),
              Contains("/sys/kernel/debug/irq/domains/VECTOR: EACCES"));
  EXPECT_EQ(Find(report, false, "interrupts")->verdict(), Finding::UNKNOWN);
}

// Nothing is left open, so the device can be used afterwards.
TEST(DoctorTest, LeavesNothingOpen) {
  WrongHost host({});
  const auto before = host.host().kernel().Resources();
  Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  EXPECT_THAT(host.host().kernel().CheckLeaks(before).leaks, IsEmpty());
}

// A host that answers every call with an error is one that the doctor knows
// nothing about, and says so.
TEST(DoctorTest, EveryFileMayBeMissing) {
  WrongHost host({});
  host.host().kernel().EditPaths([](fake::FakeSysfs& paths) {
    for (const char* path : {"/proc", "/sys", "/dev"}) paths.Remove(path);
  });
  const Report report =
      Examine({.syscalls = host.syscalls(), .devices = {host.device()}});
  EXPECT_FALSE(report.devices(0).ready());
  for (const Finding& finding : report.host()) {
    EXPECT_FALSE(finding.what().empty());
  }
}

}  // namespace
}  // namespace passthru::doctor
