// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_CHECKS_H_
#define PASSTHRU_VMM_DOCTOR_CHECKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/doctor/host_uses.h"

// The checks that doctor is made of, for its own sources only.

namespace passthru::doctor {

using Findings = std::vector<Finding>;

// A host to which a change of the kernel's command line gets this way.
inline constexpr std::string_view kUpdateGrub =
    "update-grub && reboot  # elsewhere than in Debian: grub2-mkconfig -o "
    "/boot/grub2/grub.cfg && reboot";
inline constexpr std::string_view kMoreDescriptors =
    "prlimit --pid $$ --nofile=65536  # the shell that starts the VMM";

// What the checks of a device need to know about the host.
struct HostFacts {
  bool has_iommu = false;
  // Whether /dev/vfio/vfio can be used.
  bool has_container = false;
  bool has_vfio_pci = false;
  // vfio_iommu_type1.allow_unsafe_interrupts, if the kernel tells it.
  std::optional<bool> unsafe_interrupts;
  // Whether the host's own interrupts are remapped, and how that is known.
  std::optional<bool> remapping;
  std::string remapping_known_by;
  // How many descriptors this process may still open.
  std::optional<uint64_t> free_descriptors;
  // How many interrupt vectors the host's CPUs have left.
  std::optional<uint64_t> free_vectors;
  // How many bits a physical address has.
  std::optional<unsigned> physical_bits;
  uint64_t guest_memory = 0;
  // The name or number of the user who looks, unless that is root.
  std::string user;
  bool is_root = false;
  // The words of the kernel's command line.
  std::vector<std::string> command_line;
  HostUses uses;
};

// Checks what holds for all devices (host_checks.cc).
Findings CheckHost(const HostFiles& host, HostFacts& facts);

// Check locked memory, memory and descriptors (limit_checks.cc). ReadUser()
// sets the user, to whom ForUser() addresses commands of the library.
// InOwnShell() returns a command for the shell of that user.
Findings CheckLimits(const HostFiles& host, HostFacts& facts);
void ReadUser(const HostFiles& host, HostFacts& facts);
std::vector<std::string> ForUser(const HostFacts& facts,
                                 std::vector<std::string> commands);
std::string InOwnShell(const HostFacts& facts, std::string_view command);

// Append the commands that take a word from, or add one to, the kernel's
// command line (host_checks.cc). kUpdateGrub has to follow.
void AppendWithoutWord(std::string_view word, std::vector<std::string>& to_do);
void AppendWithWord(std::string_view word, std::vector<std::string>& to_do);
// Returns whether the kernel's command line has a word such as
// "pci=nomsi,noats" with this value of the option.
bool CommandLineSays(const HostFacts& facts, std::string_view option,
                     std::string_view value);

// Sets whether the host's own interrupts are remapped (remapping_check.cc). The
// others return the finding "interrupt remapping" if the kernel refused a
// group, if none was tried, and if it attached one.
void ReadRemapping(const HostFiles& host, HostFacts& facts);
Finding RemappingIsOff(const HostFacts& facts, std::string known_by);
Finding RemappingWithoutGroup(const HostFacts& facts, std::string_view why);
Finding RemappingOfAttached(const HostFacts& facts, std::string known_by);

// A device as sysfs shows it, for its checks.
struct DeviceFacts {
  pci::Bdf address;
  std::string folder;  // "/sys/bus/pci/devices/0000:01:00.0"
  std::string identity;
  uint32_t class_code = 0;  // 0 if it cannot be read.
  bool is_virtual_function = false;
  // A bridge or a part of the chipset, which no guest can have.
  bool stays = false;
  // The beginning of the configuration space, as much as this user may read.
  std::string config;
  absl::Span<const uint8_t> config_bytes() const {
    return {reinterpret_cast<const uint8_t*>(config.data()), config.size()};
  }
  std::optional<uint32_t> group;
  std::string driver;          // Empty if there is none.
  std::string driver_unknown;  // Why that is not known, or empty.
};

// Reads a device (device_facts.cc).
DeviceFacts ReadDevice(const HostFiles& host, pci::Bdf address);

// Check one device by itself (device_checks.cc): its type, and then driver,
// reset, BARs, interrupts, power and class. Of a device that stays with the
// host the first says so. `in_the_way` is whether the host cannot do without
// the device.
Finding CheckType(const HostFiles& host, const DeviceFacts& device);
Findings CheckDevice(const HostFiles& host, const HostFacts& facts,
                     const DeviceFacts& device, bool in_the_way);

// Checks how a device can be reset (reset_check.cc).
Finding CheckReset(const HostFiles& host, const DeviceFacts& device);

// Checks who on the host uses a device, and what has to be ended before its
// driver is taken away (use_checks.cc).
Findings CheckUses(const HostFiles& host, const HostFacts& facts,
                   const DeviceFacts& device);

// Appends a finding for each way in which the host uses the device's disks:
// file systems, swap space, logical volumes, RAID arrays and so on
// (disk_uses.cc). A problem is one without which the host does not run.
void CheckDisks(const HostFiles& host, const HostUses& host_uses,
                const DeviceFacts& device, Findings& findings);

// Checks the device's IOMMU group and what the kernel says when it is attached
// to an I/O address space (group_checks.cc). Fills in device.group.
Findings CheckGroup(const HostFiles& host, const HostFacts& facts,
                    DeviceFacts& device);

// Returns whether one of the findings is a problem.
bool HasProblem(const Findings& findings);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_CHECKS_H_
