// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_DEMO_H_
#define PASSTHRU_VMM_DEMO_DEMO_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {

struct DemoOptions {
  // Real devices, by their addresses on this host. If there are any, the demo
  // uses this machine's /dev/vfio and /dev/kvm. Otherwise it simulates
  // `fixtures`.
  std::vector<pci::Bdf> devices;
  // Whether the guest may write to the medium of a real device. It always
  // writes to that of a simulated one.
  bool may_write = false;

  // The files of the captured devices to simulate.
  std::vector<std::string> fixtures;
  // Whether the simulated devices share one IOMMU group. Otherwise each has a
  // group of its own.
  bool one_group = false;
  // The version of the simulated kernel.
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;

  // Receives a line for every kernel call (see journal::CallRecorder). If null,
  // the demo writes no journal.
  std::ostream* journal = nullptr;
  // Records what happens when. If null, the demo records no timeline.
  Timeline* timeline = nullptr;
};

// Passes the devices through to one guest, lets the guest use them together,
// detaches them and returns a report. The same code runs for real devices and
// for simulated ones.
absl::StatusOr<RunReport> RunDemo(const DemoOptions& options);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_DEMO_H_
