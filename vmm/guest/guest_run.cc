// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/guest/guest_run.h"

#include <utility>

#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/guest/agent_cpu.h"
#include "passthru/vmm/guest/agent_layout.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

class SimulatedGuestRun final : public GuestRun {
 public:
  SimulatedGuestRun(fake::FakeKernel* kernel, guest::GuestProgram program)
      : kernel_(kernel) {
    kernel_->kvm().SetGuestProgram(0, std::move(program));
  }

  absl::Status Run(VcpuRunner& runner) override {
    PASSTHRU_RETURN_IF_ERROR(runner.Run());
    return kernel_->kvm().GuestStatus(0).value_or(
        absl::InternalError("the vCPU shut down before its program ended"));
  }

 private:
  fake::FakeKernel* const kernel_;
};

class AgentGuestRun final : public GuestRun {
 public:
  AgentGuestRun(std::unique_ptr<AgentCpu> agent, guest::GuestProgram program)
      : agent_(std::move(agent)), program_(std::move(program)) {}

  absl::Status Run(VcpuRunner& runner) override {
    agent_->Start(std::move(program_), [&runner] { runner.Stop(); });
    const absl::Status vcpu = runner.Run();
    if (!vcpu.ok()) agent_->Stop();
    absl::Status program = agent_->Join();
    return vcpu.ok() ? program : vcpu;
  }
  uint64_t overhead() const override { return agent_->agent_exits(); }

 private:
  const std::unique_ptr<AgentCpu> agent_;
  guest::GuestProgram program_;
};

}  // namespace

guest::GuestLayout GuestLayoutOf(Machine& machine) {
  return {
      // The agent uses the memory below kAgentReserved.
      .dma_memory = {.base = kAgentReserved,
                     .size = machine.ram().size() - kAgentReserved},
      .ecam = {.base = kEcamBase, .size = kEcamSize},
      .config_ports = true,
      .io_window = {.base = kPioBase, .size = kPioSize},
      .memory32_window = {.base = kMmio32Base, .size = kMmio32Size},
      .memory64_window = {.base = kMmio64Base, .size = kMmio64Size},
  };
}

absl::StatusOr<std::unique_ptr<GuestRun>> GuestRun::Create(
    Machine* machine, fake::FakeKernel* simulated,
    guest::GuestProgram program) {
  if (simulated != nullptr) {
    return std::make_unique<SimulatedGuestRun>(simulated, std::move(program));
  }
  PASSTHRU_ASSIGN_OR_RETURN(auto agent, AgentCpu::Create(machine));
  return std::make_unique<AgentGuestRun>(std::move(agent), std::move(program));
}

}  // namespace passthru::vmm
