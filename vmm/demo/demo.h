// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_DEMO_H_
#define PASSTHRU_VMM_DEMO_DEMO_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/demo/demo_report.pb.h"

namespace passthru::vmm {

struct DemoOptions {
  // The host's devices, through this machine's /dev/vfio and /dev/kvm; or none:
  // simulated ones.
  std::vector<pci::Bdf> devices;
  // Whether a real device's medium may be written (a simulated one's always
  // is).
  bool may_write = false;

  // The simulated hardware and kernel: a file for each device, and whether they
  // share one IOMMU group (otherwise each has its own).
  std::vector<std::string> fixtures;
  bool one_group = false;
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;

  // Where every kernel call is written down, if anywhere (fake::CallRecorder).
  std::ostream* journal = nullptr;
};

// Passes the devices through to one guest, lets the guest use them together,
// takes them away again, and reports. Real or simulated, the code in between is
// the same.
absl::StatusOr<DemoReport> RunDemo(const DemoOptions& options);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_DEMO_H_
