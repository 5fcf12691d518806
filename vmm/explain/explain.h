// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_EXPLAIN_H_
#define PASSTHRU_VMM_EXPLAIN_EXPLAIN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/explain/explain_report.pb.h"

namespace passthru::explain {

// What the user of the program asks for beside a device.
struct Wishes {
  // The offsets of capabilities to hide from the guest or to pass to it.
  std::vector<uint16_t> hide;
  std::vector<uint16_t> show;
  bool rom = false;  // the device's own expansion ROM
  std::optional<uint32_t> max_vectors;
  bool below_port = false;  // not on the guest's root bus
  bool no_intx = false;
  bool unlisted_read_only = false;

  bool any() const;
};

// Explains a device of the kernel behind `syscalls`. Returns InvalidArgument if
// a wish names no capability of the device, and the error of a device that
// cannot be attached. `source` says whose hardware and kernel it is.
absl::StatusOr<Report> Explain(kernel::Syscalls* syscalls, pci::Bdf device,
                               std::string source, const Wishes& wishes);

// Explains a captured device on a simulated kernel.
absl::StatusOr<Report> ExplainFixture(const std::string& path,
                                      fake::KernelVersion kernel,
                                      const Wishes& wishes);

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_EXPLAIN_H_
