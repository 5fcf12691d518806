// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/find_group.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {
namespace {

using kernel::SyscallResult;

// Returns the last component of a link, which in sysfs is the name of the
// object that it refers to.
std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

SyscallResult<std::string> ReadDeviceLink(kernel::Syscalls* syscalls,
                                          std::string_view device,
                                          std::string_view link,
                                          const VfioPaths& paths) {
  SyscallResult<std::string> target = syscalls->Readlink(
      absl::StrCat(paths.sysfs_pci, "/", device, "/", link).c_str());
  if (target.ok()) target.value = BaseName(target.value);
  return target;
}

// Returns whether a device that is bound to this driver keeps its group from
// being viable. A driver that leaves DMA alone says so to the kernel
// (device_driver.driver_managed_dma).
bool Blocks(std::string_view driver) {
  return !driver.empty() && driver != "pci-stub" && driver != "pcieport" &&
         !IsVfioDriver(driver);
}

}  // namespace

// The commands set the driver override, unbind the device, and probe it.
std::string BindCommands(std::string_view device, bool bound) {
  return absl::StrCat(
      "`modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/", device,
      "/driver_override; ",
      bound ? absl::StrCat("echo ", device, " > /sys/bus/pci/devices/", device,
                           "/driver/unbind; ")
            : "",
      "echo ", device, " > /sys/bus/pci/drivers_probe` (as root)");
}

bool IsVfioDriver(std::string_view driver) {
  return driver == "vfio-pci" || absl::StrContains(driver, "vfio_pci") ||
         absl::StrContains(driver, "vfio-pci");
}

absl::StatusOr<pci::Bdf> ParseHostDevice(std::string_view text) {
  absl::StatusOr<pci::Bdf> address = pci::Bdf::Parse(text);
  if (!address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text,
        "\" is not the address of a PCI device: it must be "
        "[segment:]bus:device.function in hexadecimal, such as 0000:01:00.0 "
        "(`lspci -D` lists them)"));
  }
  return address;
}

absl::StatusOr<std::string> DriverOf(kernel::Syscalls* syscalls,
                                     std::string_view device,
                                     const VfioPaths& paths) {
  const SyscallResult<std::string> driver =
      ReadDeviceLink(syscalls, device, "driver", paths);
  if (driver.error == ENOENT) return std::string();
  if (!driver.ok()) {
    return kernel::ErrnoError(
        driver.error,
        absl::StrCat("readlink of ", paths.sysfs_pci, "/", device, "/driver"));
  }
  return driver.value;
}

absl::StatusOr<uint32_t> FindGroup(kernel::Syscalls* syscalls, pci::Bdf device,
                                   const VfioPaths& paths) {
  const std::string name = device.ToString();
  const std::string folder = absl::StrCat(paths.sysfs_pci, "/", name);
  const SyscallResult<std::vector<std::string>> files =
      syscalls->ReadDirectory(folder.c_str());
  if (files.error == ENOENT) {
    return kernel::ExplainedErrnoError(
        ENOENT,
        absl::StrCat("there is no PCI device ", name, " on this host (no ",
                     folder,
                     "): check the address with `lspci -D`, and that the "
                     "device is powered and was not removed"));
  }
  if (!files.ok()) {
    return kernel::ErrnoError(files.error, absl::StrCat("opendir of ", folder));
  }

  // vfio-pci refuses a device without an IOMMU, so report a missing IOMMU
  // before a wrong driver.
  const SyscallResult<std::string> group =
      ReadDeviceLink(syscalls, name, "iommu_group", paths);
  if (group.error == ENOENT) {
    return kernel::ExplainedErrnoError(
        ENOENT,
        absl::StrCat(
            name,
            " has no IOMMU group, so the IOMMU is off: enable VT-d or AMD-Vi "
            "in the firmware's setup and boot with intel_iommu=on (Intel) or "
            "amd_iommu=on (AMD) on the kernel's command line"));
  }
  if (!group.ok()) {
    return kernel::ErrnoError(
        group.error, absl::StrCat("readlink of ", folder, "/iommu_group"));
  }

  PASSTHRU_ASSIGN_OR_RETURN(const std::string driver,
                            DriverOf(syscalls, name, paths));
  if (driver.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name,
                     " is not bound to any driver, but must be to "
                     "vfio-pci: ",
                     BindCommands(name, /*bound=*/false)));
  }
  if (!IsVfioDriver(driver)) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, " is bound to the driver ", driver,
                     ", but must be to vfio-pci (the host loses the device): ",
                     BindCommands(name, /*bound=*/true)));
  }

  uint32_t number = 0;
  if (!absl::SimpleAtoi(group.value, &number)) {
    return absl::DataLossError(
        absl::StrFormat("%s/iommu_group leads to \"%s\", which is not a number",
                        folder, group.value));
  }
  return number;
}

std::vector<BlockingDevice> FindBlockingDevices(kernel::Syscalls* syscalls,
                                                uint32_t number,
                                                const VfioPaths& paths) {
  std::vector<BlockingDevice> blocking;
  const SyscallResult<std::vector<std::string>> devices =
      syscalls->ReadDirectory(paths.sysfs_pci.c_str());
  if (!devices.ok()) return blocking;
  const std::string group = absl::StrCat(number);
  for (const std::string& device : devices.value) {
    const SyscallResult<std::string> its_group =
        ReadDeviceLink(syscalls, device, "iommu_group", paths);
    if (!its_group.ok() || its_group.value != group) continue;
    const absl::StatusOr<std::string> driver =
        DriverOf(syscalls, device, paths);
    if (driver.ok() && Blocks(*driver)) blocking.push_back({device, *driver});
  }
  return blocking;
}

}  // namespace passthru::vfio
