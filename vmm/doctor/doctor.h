// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_DOCTOR_H_
#define PASSTHRU_VMM_DOCTOR_DOCTOR_H_

#include <cstdint>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"

namespace passthru::doctor {

struct Options {
  kernel::Syscalls* syscalls = nullptr;  // required
  // The devices to look at. If empty, all that the host has.
  std::vector<pci::Bdf> devices;
  // The guest's memory in bytes, which VFIO locks.
  uint64_t guest_memory = uint64_t{4} << 30;
};

// Looks at a host and its devices, and says of each whether it can be passed
// through and what keeps it from being. Changes nothing and opens no device, so
// none is reset. It opens the IOMMU groups whose devices all belong to VFIO,
// for a moment, because only that tells whether the kernel lets them be used.
//
// A check that could not be made is a finding too (Finding.UNKNOWN), so this
// does not fail.
Report Examine(const Options& options);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_DOCTOR_H_
