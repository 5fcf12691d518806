// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_
#define PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_

#include <cstdint>
#include <optional>

#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {

// These functions convert the reports of the VMM and of the guest to the part
// of the demo's report that is about one device. They read nothing else and
// call no kernel.

// A device as it is right after its attach.
struct AttachedDevice {
  pci::Bdf host;
  pci::Bdf guest;
  std::optional<uint32_t> iommu_group;
  vfio_pci::DeviceReport report;
};

// Returns the part of the report on a device that the attach determines, which
// is the device itself and its capabilities.
Passthrough ReportAttached(const AttachedDevice& device);

// Adds to `passthrough` what the guest with the report `guest` did with the
// device at `bdf` in the guest. `settled` is the device's report from a time
// when all its vectors were in use.
void AddUse(pci::Bdf bdf, const vfio_pci::DeviceReport& settled,
            const guest::GuestReport& guest, Passthrough& passthrough);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_
