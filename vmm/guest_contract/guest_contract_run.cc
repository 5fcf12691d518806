// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/guest_contract/guest_contract_run.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

absl::Status RunGuestContract(
    const GuestContractHost& host,
    std::vector<contract::Observation>& observations) {
  PASSTHRU_ASSIGN_OR_RETURN(auto machine,
                            Machine::Create({.syscalls = host.syscalls}));
  PASSTHRU_ASSIGN_OR_RETURN(auto devices, DeviceManager::Create(machine.get()));
  PASSTHRU_ASSIGN_OR_RETURN(const auto nvme, devices->Attach(host.nvme));
  PASSTHRU_ASSIGN_OR_RETURN(const auto memory, devices->Attach(host.memory));

  VcpuRunner runner({.vcpu = &machine->vcpu(0),
                     .mmio = &machine->mmio(),
                     .pio = &machine->pio()});
  std::unique_ptr<GuestRun> run;
  contract::GuestContractOptions options = {
      .layout = GuestLayoutOf(*machine), .nvme = nvme, .memory = memory};
  options.exits = [&] {
    const ExitCounts counts = runner.counts();
    return contract::GuestExits{
        .mmio_reads = counts.mmio_reads,
        .mmio_writes = counts.mmio_writes,
        .port_reads = counts.io_reads,
        .port_writes = counts.io_writes - run->overhead()};
  };
  auto created = GuestRun::Create(
      machine.get(), host.simulated_kvm, [&](guest::GuestCpu& cpu) {
        return contract::ObserveAsGuest(cpu, options, observations);
      });
  if (!created.ok()) return created.status();
  run = *std::move(created);
  absl::Status status = run->Run(runner);
  status.Update(devices->Detach(memory));
  status.Update(devices->Detach(nvme));
  return status;
}

}  // namespace passthru::vmm
