// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_REGRESSION_H_
#define PASSTHRU_VMM_REGRESSION_REGRESSION_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/regression/device_facts.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {

struct RegressionOptions {
  std::string fixture;  // the path of the file
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
  // Called when the device is in the host and there is no machine yet.
  std::function<void(fake::SimulatedHost&)> prepare = [](fake::SimulatedHost&) {
  };
  // Records what happens when, for a page or a trace. May be null.
  Timeline* timeline = nullptr;
};

struct RegressionResult {
  // The text is the same for two runs, on any machine and with any compiler.
  std::string transcript;
  // Defects that fail a test even if its golden transcript has them, for
  // example a lost interrupt. They are lines of the transcript too.
  std::vector<std::string> problems;
  DeviceFacts facts;
  // The report for a page. Empty without a timeline.
  RunReport report;
};

// Passes the captured device through on the simulated kernel. The run attaches
// and enumerates it, moves its BARs, takes every interrupt, resets and detaches
// it. Its BARs are memory, whatever model the fixture names, because the run
// tests the path, which is the same for every device.
absl::StatusOr<RegressionResult> RunRegression(
    const RegressionOptions& options);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_REGRESSION_H_
