// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_CHECKS_H_
#define PASSTHRU_VMM_DOCTOR_CHECKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

// The checks that doctor is made of, for its own sources only.

namespace passthru::doctor {

using Findings = std::vector<Finding>;

// What the checks of a device need to know about the host.
struct HostFacts {
  bool has_iommu = false;
  // Whether /dev/vfio/vfio can be used.
  bool has_container = false;
  // vfio_iommu_type1.allow_unsafe_interrupts, if the kernel tells it.
  std::optional<bool> unsafe_interrupts;
  // How many descriptors this process may still open.
  std::optional<uint64_t> free_descriptors;
  // How many interrupt vectors the host's CPUs have left.
  std::optional<uint64_t> free_vectors;
  // How many bits a physical address has.
  std::optional<unsigned> physical_bits;
  uint64_t guest_memory = 0;
};

// Checks what holds for all devices (host_checks.cc).
Findings CheckHost(const HostFiles& host, HostFacts& facts);

// A device as sysfs shows it, for its checks.
struct DeviceFacts {
  pci::Bdf address;
  std::string folder;  // "/sys/bus/pci/devices/0000:01:00.0"
  std::string identity;
  uint32_t class_code = 0;
  bool is_virtual_function = false;
  // A bridge or a part of the chipset, which no guest can have.
  bool stays = false;
  // The beginning of the configuration space, as much as this user may read.
  std::string config;
  std::optional<uint32_t> group;
  std::string driver;  // Empty if there is none.
};

// Check one device by itself (device_checks.cc): type, driver, reset, BARs,
// interrupts, power, class, virtual functions, and who on the host uses it
// (use_checks.cc). Of a device that stays with the host they say only that.
Findings CheckDevice(const HostFiles& host, const HostFacts& facts,
                     const DeviceFacts& device);
Findings CheckUses(const HostFiles& host, const DeviceFacts& device);

// Appends a warning for each way in which the host uses the device's disks:
// file systems, swap space, logical volumes, RAID arrays and so on
// (disk_uses.cc).
void CheckDisks(const HostFiles& host, const DeviceFacts& device,
                Findings& findings);

// Checks the device's IOMMU group and what the kernel says when it is attached
// to an I/O address space (group_checks.cc). Fills in device.group.
Findings CheckGroup(const HostFiles& host, const HostFacts& facts,
                    DeviceFacts& device);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_CHECKS_H_
