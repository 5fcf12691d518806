// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/bar_checks/bench.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar_index.h"
#include "passthru/vmm/guest/guest_run.h"

namespace passthru::vmm {

absl::StatusOr<std::unique_ptr<BarChecksBench>> BarChecksBench::Create(
    const BarChecksHost& host, bool peer_to_peer) {
  auto bench = absl::WrapUnique(new BarChecksBench(host));
  PASSTHRU_ASSIGN_OR_RETURN(bench->machine_,
                            Machine::Create({.syscalls = host.syscalls}));
  PASSTHRU_ASSIGN_OR_RETURN(
      bench->devices_, DeviceManager::Create(bench->machine_.get(),
                                             {.peer_to_peer = peer_to_peer}));
  bench->runner_ = std::make_unique<VcpuRunner>(
      VcpuRunner::Options{.vcpu = &bench->machine_->vcpu(0),
                          .mmio = &bench->machine_->mmio(),
                          .pio = &bench->machine_->pio()});
  return bench;
}

absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> BarChecksBench::Attach(
    pci::Bdf host) {
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf guest, devices_->Attach(host));
  const auto device = devices_->Find(guest);
  device->ConfigWrite(0x04, std::vector<uint8_t>{0x06, 0x00});
  return device;
}

absl::Status BarChecksBench::Run(guest::GuestProgram program) {
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto run, GuestRun::Create(machine_.get(), host_.simulated_kvm,
                                       std::move(program)));
  return run->Run(*runner_);
}

uint64_t BarChecksBench::MemoryExits() const {
  const ExitCounts counts = runner_->counts();
  return counts.mmio_reads + counts.mmio_writes;
}

absl::StatusOr<vfio_pci::BarReport> FindBar(
    const vfio_pci::VfioPciDevice& device, uint8_t index) {
  for (vfio_pci::BarReport& report : device.Describe().bars) {
    if (report.bar.index == pci::BarIndex(index)) return std::move(report);
  }
  return absl::NotFoundError(
      absl::StrCat(device.name(), " has no BAR ", index));
}

}  // namespace passthru::vmm
