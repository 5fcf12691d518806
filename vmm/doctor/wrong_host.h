// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_WRONG_HOST_H_
#define PASSTHRU_VMM_DOCTOR_WRONG_HOST_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"

namespace passthru::doctor {

// What can be wrong with a host and its device.
enum class Wrong {
  kIommuOff,
  kNoVfioPci,  // The module, so the device has no driver.
  kNoContainer,
  kContainerForbidden,
  kNoKvm,
  kKvmForbidden,
  kUnsafeInterrupts,
  kNoRemapping,
  kNoIommuMode,
  kLockedMemory,
  kDescriptors,
  kNoHostVectors,
  kFewHostVectors,
  kDead,
  kHostDriver,
  kNoDriver,
  kNoReset,
  kUnplacedBar,
  kPowerError,
  kVirtualFunctions,
  // The host uses its disk, so the device has its host driver.
  kMounted,
  kSwap,
  kLogicalVolume,
  kRaid,
  kConsole,
  kSibling,
  kFirmwareMemory,
  kGroupForbidden,
  kGroupBusy,
  kNarrowIommu,
  kNoMemory,
  kAcsOverride,
  // The host is on its disk, so the device has its host driver.
  kRootDisk,
  kNetworkIsUp,
};

// A simulated host with an NVMe controller that can be passed through, but for
// what is wrong. The test chooses all that the doctor reads of a host.
class WrongHost {
 public:
  explicit WrongHost(const std::set<Wrong>& wrong);

  kernel::Syscalls* syscalls() { return &host_->kernel(); }
  fake::SimulatedHost& host() { return *host_; }
  pci::Bdf device() const { return device_; }
  // The device's other function, which is there if Wrong::kSibling is wrong.
  pci::Bdf sibling() const {
    return pci::Bdf(device_.segment(), device_.bus(), device_.device(), 1);
  }

  // Adds or replaces a file of the device's folder in sysfs.
  void AddDeviceFile(const std::string& name, const std::string& text);
  // Does so with a file of the sibling, if there is one.
  void AddSiblingFile(const std::string& name, const std::string& text);
  // Does so anywhere.
  void AddFile(const std::string& path, const std::string& text);
  // Adds a disk of the device. `folder` is where sysfs has it, below the
  // device's folder, or an absolute path.
  void AddDisk(const std::string& folder,
               const std::vector<std::string>& partitions);
  // Replaces what is mounted. The lines are as in fstab(5), "SOURCE PLACE
  // TYPE". The number of a disk of AddDisk() or AddHolder() is that of its file
  // `dev`.
  void AddMounts(const std::string& lines);
  // Says that the host built a device on a disk or partition. `files` are those
  // of its folder.
  void AddHolder(const std::string& disk, const std::string& holder,
                 const std::map<std::string, std::string>& files);
  // Adds a network interface of a device, in a folder below the device's.
  void AddInterface(pci::Bdf device, const std::string& folder,
                    const std::string& name);
  // Adds the root port that leads to the device to the device's group.
  void AddBridgeToGroup();

 private:
  void AddHostFiles(const std::set<Wrong>& wrong);
  void AddDeviceFiles(const std::set<Wrong>& wrong);
  void AddDiskFiles(const std::set<Wrong>& wrong);
  void AddGroupFiles(const std::set<Wrong>& wrong);

  // Returns the number of a new block device.
  std::string NewNumber(const std::string& node);

  std::unique_ptr<fake::SimulatedHost> host_;
  // The numbers of block devices, by their names in /dev.
  std::map<std::string, std::string> numbers_;
  pci::Bdf device_;
};

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_WRONG_HOST_H_
