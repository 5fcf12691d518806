// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_
#define PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_

#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {

// Adds to `passthrough` what the guest with the report `guest` did with the
// device at `bdf` in the guest. `settled` is the device's report from a time
// when all its vectors were in use. Reads nothing else and calls no kernel.
void AddUse(pci::Bdf bdf, const vfio_pci::DeviceReport& settled,
            const guest::GuestReport& guest, Passthrough& passthrough);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_REPORT_BUILDER_H_
