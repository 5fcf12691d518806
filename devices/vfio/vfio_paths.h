// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_PATHS_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_PATHS_H_

#include <string>

namespace passthru::vfio {

// The directories of VFIO's device files and of the PCI devices in sysfs.
struct VfioPaths {
  std::string dev_vfio = "/dev/vfio";
  std::string sysfs_pci = "/sys/bus/pci/devices";
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_PATHS_H_
