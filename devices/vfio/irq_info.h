// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_IRQ_INFO_H_
#define PASSTHRU_DEVICES_VFIO_IRQ_INFO_H_

#include <linux/vfio.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// One interrupt type of a device (struct vfio_irq_info), which is INTx, MSI,
// MSI-X, error or device request. A value type.
struct VfioIrqInfo {
  uint32_t index = 0;  // VFIO_PCI_*_IRQ_INDEX
  uint32_t flags = 0;  // VFIO_IRQ_INFO_*
  uint32_t count = 0;  // 0 if the device does not have this type.
  // The error of the query. With an error, `count` is 0. vfio-pci, for example,
  // refuses ERR on a device that is not PCI Express.
  absl::Status status;

  bool exists() const { return count != 0; }
  bool eventfd() const { return (flags & VFIO_IRQ_INFO_EVENTFD) != 0; }
  bool maskable() const { return (flags & VFIO_IRQ_INFO_MASKABLE) != 0; }
  // Returns whether vectors cannot be added while the type is enabled.
  bool noresize() const { return (flags & VFIO_IRQ_INFO_NORESIZE) != 0; }
};

// Calls VFIO_DEVICE_GET_IRQ_INFO. The result's status holds any failure, as in
// QueryRegionInfo().
VfioIrqInfo QueryIrqInfo(kernel::Syscalls* syscalls, int device_fd,
                         uint32_t index, std::string_view device);

// Returns "INTx", "MSI", "MSI-X", "ERR", "REQ" or, for example, "irq 7".
std::string IrqName(uint32_t index);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_IRQ_INFO_H_
