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

namespace passthru::vmm {

struct RegressionOptions {
  std::string fixture;  // the file
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
  // Called when the device is in the host and no machine there yet.
  std::function<void(fake::SimulatedHost&)> prepare = [](fake::SimulatedHost&) {
  };
};

struct RegressionResult {
  // The same for two runs, on any machine, by any compiler.
  std::string transcript;
  // What no golden file makes right: an interrupt lost or doubled, something
  // left behind. Also lines of the transcript.
  std::vector<std::string> problems;
  DeviceFacts facts;
};

// Passes the captured device through, on the simulated kernel: attach,
// enumeration, BARs and their moves, every interrupt, resets, detach. Its BARs
// are memory, whatever model the fixture names: what is tested is the path, and
// it is the same for every device.
absl::StatusOr<RegressionResult> RunRegression(
    const RegressionOptions& options);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_REGRESSION_H_
