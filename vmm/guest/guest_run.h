// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_GUEST_RUN_H_
#define PASSTHRU_VMM_GUEST_GUEST_RUN_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

// Returns what firmware tables would tell the guest about this machine.
guest::GuestLayout GuestLayoutOf(Machine& machine);

// A run of one guest program on vCPU 0 of a machine. A simulated KVM executes
// the program behind KVM_RUN, and a real one executes it through the agent.
//
// Thread-compatible. The guest program may call overhead() during Run().
class GuestRun {
 public:
  // `simulated` is the kernel of `machine` if its KVM is simulated, and null if
  // it is real. `machine` must outlive the returned object.
  static absl::StatusOr<std::unique_ptr<GuestRun>> Create(
      Machine* machine, fake::FakeKernel* simulated,
      guest::GuestProgram program);
  virtual ~GuestRun() = default;

  // Runs the vCPU until the program has returned. Returns the failure of the
  // vCPU if there was one, and the program's status otherwise.
  virtual absl::Status Run(VcpuRunner& runner) = 0;
  // Returns how many of the port writes so far are not the program's.
  virtual uint64_t overhead() const { return 0; }
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_GUEST_RUN_H_
