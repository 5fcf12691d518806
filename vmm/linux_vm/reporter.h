// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_REPORTER_H_
#define PASSTHRU_VMM_LINUX_VM_REPORTER_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/vm_report.h"

namespace passthru::vmm {

// The files on a run that the user of passthrough_vm asked for: a page, a
// trace, both or neither. Without either it does nothing.
//
// Thread-compatible. The VM must not run any more when it is destroyed.
class Reporter {
 public:
  struct Options {
    // The files as the user named them. Empty for none.
    std::string page;
    std::string trace;
    // The host of simulated devices and their files, or null.
    fake::SimulatedHost* host = nullptr;
    std::map<pci::Bdf, std::string> fixtures;
  };
  explicit Reporter(Options options) : options_(std::move(options)) {}
  ~Reporter() { End(); }
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

  // Fails now, and not at the end, if a file cannot be written.
  absl::Status Open() const;

  // As VmReport has them.
  void AddTo(LinuxVm::Options& options);
  void Begin(std::string_view phase);
  void Watch(LinuxVm* vm);
  void End();

  absl::Status Write() const;

 private:
  const Options options_;
  std::unique_ptr<VmReport> report_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_REPORTER_H_
