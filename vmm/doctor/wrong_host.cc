// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/wrong_host.h"

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::doctor {
namespace {

constexpr char kFixture[] = "testing/fixtures/nvme.textproto";
constexpr char kOtherFixture[] = "testing/fixtures/e1000e.textproto";
constexpr uint32_t kGroup = 14;

fake::SimulatedHost::Options HostOptions(const std::set<Wrong>& wrong) {
  fake::SimulatedHost::Options options;
  options.kernel.has_kvm = !wrong.contains(Wrong::kNoKvm);
  if (wrong.contains(Wrong::kDescriptors)) {
    options.kernel.descriptors.rlim_cur = 200;
  }
  options.vfio.iommu.interrupt_remapping = !wrong.contains(Wrong::kNoRemapping);
  options.vfio.iommu.allow_unsafe_interrupts =
      wrong.contains(Wrong::kUnsafeInterrupts);
  if (wrong.contains(Wrong::kNarrowIommu)) {
    options.vfio.iommu.iova_ranges = {{0, 0x7fff'ffff}};
  }
  return options;
}

// Returns whether the host uses the device's disk.
bool DiskIsUsed(const std::set<Wrong>& wrong) {
  return wrong.contains(Wrong::kMounted) || wrong.contains(Wrong::kSwap) ||
         wrong.contains(Wrong::kLogicalVolume) ||
         wrong.contains(Wrong::kRaid) || wrong.contains(Wrong::kRootDisk);
}

// Returns what the host has mounted, as in fstab(5).
std::string MountsOf(const std::set<Wrong>& wrong) {
  std::string mounts = "tmpfs /tmp tmpfs\n";
  if (wrong.contains(Wrong::kMounted)) {
    absl::StrAppend(&mounts, "/dev/nvme0n1p2 /srv ext4\n");
  }
  if (wrong.contains(Wrong::kLogicalVolume)) {
    absl::StrAppend(&mounts, "/dev/mapper/vg-home /home ext4\n");
  }
  if (wrong.contains(Wrong::kRootDisk)) {
    absl::StrAppend(&mounts, "/dev/nvme0n1p1 / ext4\n");
  }
  return mounts;
}

std::string DriverOf(const std::set<Wrong>& wrong) {
  if (wrong.contains(Wrong::kHostDriver) || DiskIsUsed(wrong) ||
      wrong.contains(Wrong::kNetworkIsUp)) {
    return "nvme";
  }
  const bool none =
      wrong.contains(Wrong::kNoDriver) || wrong.contains(Wrong::kNoVfioPci);
  return none ? "" : "vfio-pci";
}

// Returns the folder that the link of a device in /sys/bus/pci/devices leads
// to, whose nodes the simulation makes.
std::string Folder(const fake::FakeSysfs& paths, pci::Bdf device) {
  const auto link =
      paths.Readlink(absl::StrCat("/sys/bus/pci/devices/", device.ToString()));
  CHECK(link.ok());
  return absl::StrCat("/sys", link.value.substr(link.value.find("/devices/")));
}

}  // namespace

WrongHost::WrongHost(const std::set<Wrong>& wrong)
    : host_(std::make_unique<fake::SimulatedHost>(HostOptions(wrong))) {
  const bool has_iommu = !wrong.contains(Wrong::kIommuOff);
  fake::DeviceOptions options;
  options.group = kGroup;
  options.has_iommu = has_iommu;
  options.driver = DriverOf(wrong);
  const auto added = host_->AddFixture(kFixture, std::move(options));
  CHECK_OK(added.status());
  device_ = *added;
  if (wrong.contains(Wrong::kSibling)) {
    fake::DeviceOptions sibling;
    sibling.bdf = this->sibling();
    sibling.group = kGroup;
    sibling.has_iommu = has_iommu;
    sibling.driver = "e1000e";
    CHECK_OK(host_->AddFixture(kOtherFixture, std::move(sibling)).status());
  }
  AddHostFiles(wrong);
  AddDeviceFiles(wrong);
  if (DiskIsUsed(wrong)) AddDiskFiles(wrong);
  AddMounts(MountsOf(wrong));
  if (has_iommu) AddGroupFiles(wrong);
}

void WrongHost::AddMounts(const std::string& lines) {
  std::string text;
  int id = 20;
  for (const std::string_view line :
       absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    CHECK_GE(words.size(), 3u);
    // A disk that is not simulated has some number, and what is on no disk or
    // on several has an anonymous one.
    std::string number =
        words[0].starts_with("/dev/") && words[2] != "btrfs" ? "8:200" : "0:40";
    const auto known = numbers_.find(words[0]);
    if (known != numbers_.end() && words[2] != "btrfs") number = known->second;
    absl::StrAppend(&text, ++id, " 1 ", number, " / ", words[1],
                    " rw shared:1 - ", words[2], " ", words[0], " rw\n");
  }
  AddFile("/proc/self/mountinfo", text);
}

std::string WrongHost::NewNumber(const std::string& node) {
  std::string number = absl::StrCat("259:", numbers_.size() + 1);
  numbers_["/dev/" + node] = number;
  return number;
}

void WrongHost::AddFile(const std::string& path, const std::string& text) {
  host_->kernel().EditPaths(
      [&](fake::FakeSysfs& paths) { paths.AddFile(path, text); });
}

void WrongHost::AddSiblingFile(const std::string& name,
                               const std::string& text) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    paths.AddFile(absl::StrCat(Folder(paths, sibling()), "/", name), text);
  });
}

void WrongHost::AddInterface(pci::Bdf device, const std::string& folder,
                             const std::string& name) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    const std::string path =
        absl::StrCat(Folder(paths, device), "/", folder, "/", name);
    paths.AddFile(path + "/flags", "0x1003\n");
    paths.AddLink("/sys/class/net/" + name,
                  absl::StrCat("../..", path.substr(4)));  // /sys
  });
}

void WrongHost::AddDeviceFile(const std::string& name,
                              const std::string& text) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    paths.AddFile(absl::StrCat(Folder(paths, device_), "/", name), text);
  });
}

void WrongHost::AddBridgeToGroup() {
  host_->kernel().EditPaths([](fake::FakeSysfs& paths) {
    paths.AddPciDevice({.bdf = "0000:00:1c.0",
                        .vendor = 0x8086,
                        .device = 0xa110,
                        .class_code = 0x060400,
                        .iommu_group = kGroup,
                        .driver = "pcieport"});
  });
}

void WrongHost::AddHostFiles(const std::set<Wrong>& wrong) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    for (const std::string_view path :
         {"/etc/passwd", "/proc/cpuinfo", "/proc/cmdline", "/proc/interrupts",
          "/proc/meminfo", "/proc/net", "/proc/self", "/proc/swaps",
          "/sys/block", "/sys/class", "/sys/devices/virtual", "/sys/fs",
          "/sys/module", "/sys/kernel/debug"}) {
      paths.Adopt(path);
    }
    paths.AddFile("/proc/cpuinfo",
                  "processor\t: 0\nvendor_id\t: GenuineIntel\n"
                  "address sizes\t: 39 bits physical, 48 bits virtual\n");
    paths.AddFile("/proc/cmdline",
                  absl::StrCat("BOOT_IMAGE=/vmlinuz ro quiet",
                               wrong.contains(Wrong::kAcsOverride)
                                   ? " pcie_acs_override=downstream"
                                   : "",
                               "\n"));
    paths.AddFile("/etc/passwd",
                  "root:x:0:0:root:/root:/bin/bash\n"
                  "ada:x:1000:1000::/home/ada:/bin/bash\n");
    paths.AddFile("/proc/meminfo",
                  absl::StrCat("MemTotal:       ",
                               wrong.contains(Wrong::kNoMemory) ? "1" : "64",
                               "000000 kB\n"
                               "MemAvailable:   60000000 kB\n"));
    paths.AddFile("/proc/interrupts",
                  absl::StrCat("           CPU0       CPU1\n"
                               "   1:          9          0  ",
                               wrong.contains(Wrong::kNoRemapping) ? "" : "IR-",
                               "IO-APIC    1-edge      i8042\n"));
    paths.AddFile("/proc/swaps",
                  absl::StrCat("Filename\tType\tSize\tUsed\tPriority\n",
                               wrong.contains(Wrong::kSwap)
                                   ? "/dev/nvme0n1p3  partition 1 0 -2\n"
                                   : ""));
    paths.AddDirectory("/sys/block");
    const std::string_view limit =
        wrong.contains(Wrong::kLockedMemory) ? "8388608" : "unlimited";
    paths.AddFile("/proc/self/limits",
                  absl::StrCat("Limit                     Soft Limit\n"
                               "Max locked memory         ",
                               limit, "  ", limit, "  bytes\n"));
    paths.AddFile("/proc/self/status",
                  "Uid:\t1000\t1000\t1000\t1000\n"
                  "VmLck:\t       0 kB\nCapEff:\t0000000000000000\n");
    for (const std::string_view fd : {"0", "1", "2"}) {
      paths.AddFile(absl::StrCat("/proc/self/fd/", fd), "");
    }
    if (!wrong.contains(Wrong::kIommuOff)) {
      paths.AddDirectory("/sys/class/iommu/dmar0");
    }
    const auto flag = [&wrong](Wrong one) {
      return wrong.contains(one) ? "Y\n" : "N\n";
    };
    paths.AddFile(
        "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        flag(Wrong::kUnsafeInterrupts));
    paths.AddFile("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
                  flag(Wrong::kNoIommuMode));
    const int vectors = wrong.contains(Wrong::kNoHostVectors)    ? 0
                        : wrong.contains(Wrong::kFewHostVectors) ? 3
                                                                 : 1580;
    paths.AddFile("/sys/kernel/debug/irq/domains/VECTOR",
                  absl::StrCat("name:   VECTOR\nOnline bitmaps:        8\n"
                               "Global available:   ",
                               vectors, "\nGlobal reserved:     26\n"));
    if (wrong.contains(Wrong::kNoVfioPci)) {
      paths.Remove("/sys/bus/pci/drivers/vfio-pci");
    }
    if (wrong.contains(Wrong::kNoContainer)) paths.Remove("/dev/vfio/vfio");
    if (wrong.contains(Wrong::kContainerForbidden)) {
      paths.SetOpenError("/dev/vfio/vfio", EACCES);
    }
    if (wrong.contains(Wrong::kKvmForbidden)) {
      paths.SetOpenError("/dev/kvm", EACCES);
    }
  });
}

void WrongHost::AddDeviceFiles(const std::set<Wrong>& wrong) {
  AddDeviceFile("power_state",
                wrong.contains(Wrong::kPowerError) ? "error\n" : "D0\n");
  if (wrong.contains(Wrong::kDead)) {
    AddDeviceFile("config", std::string(4096, '\xff'));
  } else if (wrong.contains(Wrong::kIommuOff)) {
    // Without an IOMMU the simulation has no hardware behind the file.
    const auto fixture = fixture::LoadFixture(kFixture);
    CHECK_OK(fixture.status());
    const auto config = fixture::ExpandConfig(*fixture).bytes;
    AddDeviceFile("config", std::string(config.begin(), config.end()));
  }
  if (wrong.contains(Wrong::kNoReset)) AddDeviceFile("reset_method", "");
  if (wrong.contains(Wrong::kUnplacedBar)) {
    AddDeviceFile("resource",
                  "0x0000000000000000 0x0000000000003fff 0x0000000020140204\n");
  }
  if (wrong.contains(Wrong::kVirtualFunctions)) {
    AddDeviceFile("sriov_numvfs", "4\n");
  }
  if (wrong.contains(Wrong::kNetworkIsUp)) {
    AddInterface(device_, "virtio0/net", "enp2s0");
  }
  if (wrong.contains(Wrong::kConsole)) AddDeviceFile("boot_vga", "1\n");
}

void WrongHost::AddDiskFiles(const std::set<Wrong>& wrong) {
  AddDisk("nvme/nvme0/nvme0n1",
          {"nvme0n1p1", "nvme0n1p2", "nvme0n1p3", "nvme0n1p4", "nvme0n1p5"});
  if (wrong.contains(Wrong::kLogicalVolume)) {
    AddHolder("nvme0n1p4", "dm-0",
              {{"dm/name", "vg-home\n"}, {"dm/uuid", "LVM-abcd\n"}});
  }
  if (wrong.contains(Wrong::kRaid)) {
    AddHolder("nvme0n1p5", "md0", {{"md/level", "raid1\n"}});
  }
}

void WrongHost::AddDisk(const std::string& folder,
                        const std::vector<std::string>& partitions) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    const std::string path =
        folder.front() == '/'
            ? folder
            : absl::StrCat(Folder(paths, device_), "/", folder);
    const std::string disk = path.substr(path.rfind('/') + 1);
    const std::string target = absl::StrCat("..", path.substr(4));  // /sys
    paths.AddFile(path + "/size", "1024\n");
    paths.AddFile(path + "/dev", NewNumber(disk) + "\n");
    paths.AddLink("/sys/block/" + disk, target);
    paths.AddLink("/sys/class/block/" + disk, absl::StrCat("../", target));
    for (const std::string& partition : partitions) {
      paths.AddFile(absl::StrCat(path, "/", partition, "/partition"), "1\n");
      paths.AddFile(absl::StrCat(path, "/", partition, "/dev"),
                    NewNumber(partition) + "\n");
      paths.AddLink("/sys/class/block/" + partition,
                    absl::StrCat("../", target, "/", partition));
    }
  });
}

void WrongHost::AddHolder(const std::string& disk, const std::string& holder,
                          const std::map<std::string, std::string>& files) {
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    const std::string folder = "/sys/devices/virtual/block/" + holder;
    const std::string number = NewNumber(holder);
    paths.AddFile(folder + "/dev", number + "\n");
    const auto mapped = files.find("dm/name");
    if (mapped != files.end()) {
      numbers_[absl::StrCat(
          "/dev/mapper/", absl::StripAsciiWhitespace(mapped->second))] = number;
    }
    for (const auto& [name, text] : files) {
      paths.AddFile(absl::StrCat(folder, "/", name), text);
    }
    for (const std::string_view list : {"/sys/block/", "/sys/class/block/"}) {
      paths.AddLink(absl::StrCat(list, holder),
                    absl::StrCat(list == "/sys/block/" ? ".." : "../..",
                                 folder.substr(4)));
    }
    const auto link = paths.Readlink("/sys/class/block/" + disk);
    CHECK(link.ok());
    paths.AddDirectory(
        absl::StrCat("/sys", link.value.substr(link.value.find("/devices/")),
                     "/holders/", holder));
  });
}

void WrongHost::AddGroupFiles(const std::set<Wrong>& wrong) {
  const std::string folder = absl::StrCat("/sys/kernel/iommu_groups/", kGroup);
  AddFile(folder + "/type", "DMA-FQ\n");
  AddFile(folder + "/reserved_regions",
          absl::StrCat(wrong.contains(Wrong::kFirmwareMemory)
                           ? "0x000000007b800000 0x000000007fffffff direct\n"
                           : "",
                       "0x00000000fee00000 0x00000000feefffff msi\n"));
  const std::string path = absl::StrCat("/dev/vfio/", kGroup);
  if (wrong.contains(Wrong::kGroupForbidden)) {
    host_->kernel().SetOpenError(path, EACCES);
  }
  if (wrong.contains(Wrong::kGroupBusy)) {
    host_->kernel().SetOpenError(path, EBUSY);
  }
}

}  // namespace passthru::doctor
