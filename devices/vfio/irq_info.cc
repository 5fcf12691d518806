// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/irq_info.h"

#include <linux/vfio.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/info_query.h"

namespace passthru::vfio {
namespace {

// An MSI-X table has at most 2048 entries (PCIe 6.0 7.7.2.2). No other type has
// as many.
constexpr uint32_t kMaxCount = 2048;

}  // namespace

VfioIrqInfo QueryIrqInfo(kernel::Syscalls* syscalls, int device_fd,
                         uint32_t index, std::string_view device) {
  VfioIrqInfo irq;
  irq.index = index;
  const std::string what = absl::StrFormat(
      "VFIO_DEVICE_GET_IRQ_INFO(index=%s) on %s", IrqName(index), device);
  vfio_irq_info inputs = {};
  inputs.index = index;
  const absl::StatusOr<InfoAnswer<vfio_irq_info>> answer =
      QueryInfo(syscalls, device_fd, VFIO_DEVICE_GET_IRQ_INFO, inputs, what);
  if (!answer.ok()) {
    irq.status = answer.status();
    return irq;
  }
  if (answer->info.count > kMaxCount) {
    irq.status = absl::DataLossError(
        absl::StrFormat("%s: %d vectors; a PCI function has at most %d", what,
                        answer->info.count, kMaxCount));
    return irq;
  }
  irq.flags = answer->info.flags;
  irq.count = answer->info.count;
  return irq;
}

std::string IrqName(uint32_t index) {
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      return "INTx";
    case VFIO_PCI_MSI_IRQ_INDEX:
      return "MSI";
    case VFIO_PCI_MSIX_IRQ_INDEX:
      return "MSI-X";
    case VFIO_PCI_ERR_IRQ_INDEX:
      return "ERR";
    case VFIO_PCI_REQ_IRQ_INDEX:
      return "REQ";
    default:
      return absl::StrCat("irq ", index);
  }
}

}  // namespace passthru::vfio
