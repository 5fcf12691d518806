// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_HOST_USES_H_
#define PASSTHRU_VMM_DOCTOR_HOST_USES_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "passthru/vmm/doctor/host_files.h"

// What a host uses its disks and networks for.

namespace passthru::doctor {

// A link in a folder, and what it refers to.
struct Link {
  std::string name;
  std::string target;
};

// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
struct Mount {
  std::string number;  // of the block device, as "259:1"
  std::string place;
  std::string type;
  std::string source;
};

struct HostUses {
  std::vector<Link> interfaces;          // of /sys/class/net
  std::set<std::string> default_routes;  // the interfaces that have one
  Answer<std::vector<Link>> disks;       // of /sys/block
  Answer<std::vector<Mount>> mounts;
  std::vector<std::string> swaps;
  // The devices of the btrfs that has the device.
  std::map<std::string, std::vector<std::string>> btrfs;
};

// Reads them once, because a group may have hundreds of devices, of each of
// which the doctor looks at the uses of all others.
HostUses ReadHostUses(const HostFiles& host);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_HOST_USES_H_
