// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_DEVICE_SECTION_H_
#define PASSTHRU_VMM_REPORT_DEVICE_SECTION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {

// These functions convert what the VMM knows of a device to the part of a run's
// report that is about it. They read nothing else and call no kernel.

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

// Adds to `passthrough` the device's counters, BARs, vectors and failures.
// `settled` is its report from a time when the guest uses it.
void AddState(const vfio_pci::DeviceReport& settled, Passthrough& passthrough);

// Returns how many vectors of a device deliver interrupts, and how many are in
// use. Of several reports, that with the greatest pair shows most. (A guest
// turns its interrupts off before it ends.)
std::pair<size_t, size_t> VectorActivity(const vfio_pci::DeviceReport& report);

// Adds lines on what a guest did that does not tell itself, by the same report,
// and how often the device interrupted, by vector.
void AddActivity(const vfio_pci::DeviceReport& settled,
                 const std::map<uint32_t, uint64_t>& raised,
                 Passthrough& passthrough);

// Adds a line on what the guest did with the device.
void AddStep(std::string title, std::string result, Passthrough& passthrough);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_DEVICE_SECTION_H_
