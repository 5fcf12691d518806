// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_ATTACHMENT_H_
#define PASSTHRU_VMM_EXPLAIN_ATTACHMENT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/explain/register_diff.h"

namespace passthru::explain {

// What a VMM may choose about how the guest sees a device, as in
// VfioPciDevice::Options.
struct Choices {
  vfio_pci::CapabilityPolicy policy;
  vfio_pci::RomOptions rom;
  std::optional<uint32_t> max_vectors;
  bool on_root_bus = true;
  bool intx = true;
};

// What was seen of a device while it was attached.
struct Attachment {
  Views views;
  std::array<vfio::VfioRegionInfo, 7> regions;  // The BARs and the ROM.
  std::array<vfio::VfioIrqInfo, 3> irqs;        // INTx, MSI and MSI-X.
  // The BARs at their host addresses.
  std::vector<pci::Bar> bars;
  vfio_pci::DeviceReport report;
};

// Attaches a device to a virtual machine as a VMM does, looks at it from all
// sides, and detaches it. No guest runs.
absl::StatusOr<Attachment> Attach(kernel::Syscalls* syscalls, pci::Bdf device,
                                  const Choices& choices);

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_ATTACHMENT_H_
