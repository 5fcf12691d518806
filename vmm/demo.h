// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_H_
#define PASSTHRU_VMM_DEMO_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pci/bdf.h"
#include "testing/kernel_version.h"
#include "vmm/demo_report.pb.h"

namespace passthru::vmm {

struct DemoOptions {
  // The host's device, through this machine's /dev/vfio and /dev/kvm; or
  // nothing: a simulated one.
  std::optional<pci::Bdf> device;
  // Whether a real device's medium may be written (a simulated one's always
  // is).
  bool may_write = false;

  // The simulated hardware and kernel.
  std::string fixture;
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
};

// Passes a device through to a guest, lets the guest use it, takes it away
// again, and reports. Real or simulated, the code in between is the same.
absl::StatusOr<DemoReport> RunDemo(const DemoOptions& options);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_H_
