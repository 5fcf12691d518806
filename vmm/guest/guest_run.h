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

// What firmware tables would tell the guest of this machine.
guest::GuestLayout GuestLayoutOf(Machine& machine);

// Runs one guest program on vCPU 0 of a machine. How depends on whose KVM it
// has: the simulated one runs it behind KVM_RUN, a real one through the agent.
//
// Thread-compatible, but for overhead(), which the program may call.
class GuestRun {
 public:
  // `simulated` is the kernel whose KVM is simulated, null for a real KVM. The
  // machine outlives this.
  static absl::StatusOr<std::unique_ptr<GuestRun>> Create(
      Machine* machine, fake::FakeKernel* simulated,
      guest::GuestProgram program);
  virtual ~GuestRun() = default;

  // Returns when the program has; its status, or why the vCPU stopped.
  virtual absl::Status Run(VcpuRunner& runner) = 0;
  // Port writes so far that are not the program's.
  virtual uint64_t overhead() const { return 0; }
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_GUEST_RUN_H_
