// SPDX-License-Identifier: Apache-2.0
//
// Finds out what the host does with the disks of a device. The disks are those
// of /sys/block whose folder is below the device's. What is built on a disk, a
// partition or such a device is in its folder `holders`.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/doctor/host_uses.h"
#include "passthru/vmm/doctor/shell_word.h"

namespace passthru::doctor {
namespace {

constexpr uint32_t kMassStorage = 0x01;
constexpr std::string_view kUses = "the host uses it: ";

std::string BlockFolder(std::string_view name) {
  return absl::StrCat("/sys/class/block/", name);
}

// Returns whether the disk of this link in /sys/block is the device's. With
// multipath an NVMe namespace is in the folder of its subsystem, which names
// the controllers.
bool IsDiskOf(const HostFiles& host, const DeviceFacts& device,
              const std::string& link) {
  if (absl::StrContains(link,
                        absl::StrCat("/", device.address.ToString(), "/"))) {
    return true;
  }
  std::string_view folder = link;
  folder = folder.substr(0, folder.rfind('/'));
  const size_t name = folder.rfind("/nvme-subsystem/");
  if (name == std::string_view::npos) return false;
  const std::string subsystem = absl::StrCat("/sys/class", folder.substr(name));
  const auto controllers = host.Folder(device.folder + "/nvme");
  for (const std::string& one : host.Folder(subsystem).value) {
    for (const std::string& controller : controllers.value) {
      if (one == controller) return true;
    }
  }
  return false;
}

// Returns whether a host does not run without a file system there. A container
// has files of the host's disk below /etc.
bool IsOfTheSystem(std::string_view place) {
  for (const std::string_view one :
       {"/", "/usr", "/etc", "/var", "/boot", "/sysroot", "/nix/store",
        "/run/live/medium"}) {
    if (place == one) return true;
  }
  return absl::StartsWith(place, "/etc/");
}

// A device that is built on others: a logical volume, a RAID array and so on.
struct Holder {
  std::string what;     // "the logical volume /dev/mapper/vg-home"
  std::string command;  // which takes it apart
};

class DiskUses {
 public:
  DiskUses(const HostFiles& host, const HostUses& uses)
      : host_(host), uses_(uses) {}

  // Looks at a disk or partition and at what is built on it.
  void Look(const std::string& name) {
    // A device that is built on several partitions comes once for each.
    if (!seen_.insert(name).second) return;
    const std::string node = Node(name);
    CheckMounts(name, node);
    CheckSwap(name, node);
    // A RAID array may have partitions, as a disk has.
    for (const std::string& part : host_.Folder(BlockFolder(name)).value) {
      if (absl::StartsWith(part, name)) Look(part);
    }
    for (const std::string& holder :
         host_.Folder(BlockFolder(name) + "/holders").value) {
      Look(holder);
      AddHolder(node, name, holder);
    }
  }

  // Returns the findings in the order in which their commands have to be given.
  Findings Take() {
    // What is mounted later may be mounted below.
    std::stable_sort(
        mounted_.begin(), mounted_.end(),
        [](const Mounted& a, const Mounted& b) { return a.line > b.line; });
    Findings all;
    for (Mounted& mounted : mounted_) all.push_back(std::move(mounted.finding));
    mounted_.clear();
    for (Finding& found : found_) all.push_back(std::move(found));
    found_ = std::move(all);
    for (Finding& holder : holders_) found_.push_back(std::move(holder));
    holders_.clear();
    // Nothing of it can be ended while the host runs from it.
    if (HasProblem(found_)) {
      for (Finding& finding : found_) {
        if (finding.verdict() != Finding::PROBLEM) finding.clear_to_do();
      }
    }
    return std::move(found_);
  }

 private:
  // Returns the node in /dev of a block device.
  std::string Node(const std::string& name) const {
    const auto mapped = host_.Text(BlockFolder(name) + "/dm/name");
    return mapped.ok() && !mapped.value.empty()
               ? absl::StrCat("/dev/mapper/", mapped.value)
               : absl::StrCat("/dev/", absl::StrReplaceAll(name, {{"!", "/"}}));
  }

  void CheckMounts(const std::string& name, const std::string& node) {
    const std::string number = host_.Text(BlockFolder(name) + "/dev").value;
    bool is_mounted = false;
    const std::vector<Mount>& mounts = uses_.mounts.value;
    for (size_t i = 0; i < mounts.size(); ++i) {
      const Mount& mount = mounts[i];
      if (!IsOn(mount, name, node, number)) continue;
      is_mounted = true;
      const bool of_the_system = IsOfTheSystem(mount.place);
      const std::string what =
          absl::StrCat(of_the_system ? "the host runs from it: " : kUses,
                       mount.source, " is mounted on ", mount.place);
      const std::string to_do =
          of_the_system ? "# start the host from another disk, or give the "
                          "guest another"
                        : absl::StrCat("umount ", ShellWord(mount.place));
      mounted_.push_back(
          {i, MakeFinding(absl::StrCat("use at ", mount.place),
                          of_the_system ? Finding::PROBLEM : Finding::WARNING,
                          what,
                          {absl::StrCat("/proc/self/mountinfo: ", mount.number,
                                        " ", mount.place)},
                          {to_do})});
    }
    if (!is_mounted) CheckFileSystem(name, node, number);
  }

  // Returns whether what is mounted is on this block device. The number tells
  // it, whatever name the device was mounted by. That of a btrfs is anonymous
  // (get_anon_bdev()), so there the source has to tell.
  bool IsOn(const Mount& mount, const std::string& name,
            const std::string& node, const std::string& number) const {
    if (!number.empty() && !absl::StartsWith(mount.number, "0:")) {
      return mount.number == number;
    }
    if (IsNode(mount.source, name, node)) return true;
    const auto fellows = uses_.btrfs.find(name);
    if (fellows == uses_.btrfs.end()) return false;
    for (const std::string& fellow : fellows->second) {
      if (IsNode(mount.source, fellow, Node(fellow))) return true;
    }
    return false;
  }

  static bool IsNode(std::string_view source, std::string_view name,
                     std::string_view node) {
    return source == node || source == absl::StrCat("/dev/", name);
  }

  // Some file systems have a folder in sysfs while they are mounted, in
  // whatever mount namespace.
  void CheckFileSystem(const std::string& name, const std::string& node,
                       const std::string& number) {
    std::string folder;
    for (const std::string_view type : {"ext4", "xfs"}) {
      const std::string path = absl::StrCat("/sys/fs/", type, "/", name);
      if (host_.Folder(path).ok()) folder = path;
    }
    if (uses_.btrfs.contains(name)) folder = "/sys/fs/btrfs/*/devices/" + name;
    if (folder.empty()) return;
    std::vector<std::string> to_do;
    if (!number.empty()) {
      to_do.push_back(absl::StrCat("grep -ls ' ", number,
                                   " ' /proc/[0-9]*/mountinfo  # the processes "
                                   "that see it"));
    }
    found_.push_back(MakeFinding(
        absl::StrCat("use of ", name), Finding::WARNING,
        absl::StrCat("the host has a file system of ", node,
                     " mounted, perhaps in another mount namespace"),
        {folder}, std::move(to_do)));
  }

  void CheckSwap(const std::string& name, const std::string& node) {
    for (const std::string& source : uses_.swaps) {
      if (!IsNode(source, name, node)) continue;
      found_.push_back(
          MakeFinding("use as swap", Finding::WARNING,
                      absl::StrCat(kUses, source, " is swap space"),
                      {absl::StrCat("/proc/swaps: ", source)},
                      {absl::StrCat("swapoff ", ShellWord(source))}));
    }
  }

  // What a device mapper's device is says the beginning of its UUID.
  Holder Describe(const std::string& name) const {
    const std::string node = Node(name);
    const auto uuid = host_.Text(BlockFolder(name) + "/dm/uuid");
    // Parts of a volume, such as its mirrors, have more than two UUIDs of 32
    // characters each, and go with it.
    if (absl::StartsWith(uuid.value, "LVM-") && uuid.value.size() > 68) {
      return {absl::StrCat("the logical volumes' ", node), ""};
    }
    if (absl::StartsWith(uuid.value, "mpath-")) {
      return {absl::StrCat("the multipath device ", node),
              absl::StrCat("multipath -f ", ShellWord(node))};
    }
    if (absl::StartsWith(uuid.value, "LVM-")) {
      return {absl::StrCat("the logical volume ", node),
              absl::StrCat("lvchange --activate n ", ShellWord(node))};
    }
    if (absl::StartsWith(uuid.value, "CRYPT-")) {
      return {absl::StrCat("the encrypted volume ", node),
              absl::StrCat("cryptsetup close ", ShellWord(node))};
    }
    if (uuid.ok()) {
      return {node, absl::StrCat("dmsetup remove ", ShellWord(node))};
    }
    if (host_.Text(BlockFolder(name) + "/md/level").ok()) {
      return {absl::StrCat("the RAID array ", node),
              absl::StrCat("mdadm --stop ", ShellWord(node))};
    }
    return {node, ""};
  }

  void AddHolder(const std::string& node, const std::string& name,
                 const std::string& holder) {
    const Holder what = Describe(holder);
    const std::string known_by =
        absl::StrCat(BlockFolder(name), "/holders/", holder);
    const std::string check = absl::StrCat(
        "use in ",
        absl::StripPrefix(absl::StripPrefix(Node(holder), "/dev/"), "mapper/"));
    for (Finding& known : holders_) {
      if (known.check() != check) continue;
      // It is built on several disks or partitions of the device.
      known.set_what(absl::StrCat(kUses, node, ", ",
                                  absl::StripPrefix(known.what(), kUses)));
      known.add_known_by(known_by);
      return;
    }
    std::vector<std::string> commands;
    if (!what.command.empty()) commands.push_back(what.command);
    holders_.push_back(
        MakeFinding(check, Finding::WARNING,
                    absl::StrCat(kUses, node, " is a part of ", what.what),
                    {known_by}, std::move(commands)));
  }

  const HostFiles& host_;
  const HostUses& uses_;
  std::set<std::string> seen_;
  // A mount, with its line in /proc/self/mountinfo.
  struct Mounted {
    size_t line;
    Finding finding;
  };
  std::vector<Mounted> mounted_;
  Findings found_;  // Swap space.
  // Those that are built on others come before these.
  Findings holders_;
};

}  // namespace

void CheckDisks(const HostFiles& host, const HostUses& host_uses,
                const DeviceFacts& device, Findings& findings) {
  const auto& disks = host_uses.disks;
  const auto& mounts = host_uses.mounts;
  DiskUses uses(host, host_uses);
  const std::string unknown = !disks.ok()    ? disks.known_by
                              : !mounts.ok() ? mounts.known_by
                                             : "";
  bool has_disk = !disks.ok();
  for (const Link& disk : disks.value) {
    if (!IsDiskOf(host, device, disk.target)) continue;
    has_disk = true;
    uses.Look(disk.name);
  }
  const bool has_zfs =
      std::any_of(mounts.value.begin(), mounts.value.end(),
                  [](const Mount& mount) { return mount.type == "zfs"; });
  if (unknown.empty() && has_disk && has_zfs) {
    findings.push_back(MakeFinding(
        "use in ZFS", Finding::UNKNOWN,
        "the host has ZFS, and the kernel does not tell on which disks",
        {"/proc/self/mountinfo: zfs"}, {"zpool status -P  # names the disks"}));
  }
  for (Finding& finding : uses.Take()) findings.push_back(std::move(finding));
  if (device.class_code >> 16 == kMassStorage && has_disk && !unknown.empty()) {
    findings.push_back(MakeFinding(
        "use of its disks", Finding::UNKNOWN,
        "whether the host uses its disks cannot be seen", {unknown}));
  }
}

}  // namespace passthru::doctor
