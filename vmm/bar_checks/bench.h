// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BAR_CHECKS_BENCH_H_
#define PASSTHRU_VMM_BAR_CHECKS_BENCH_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/bar_checks/bar_checks.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

// A machine with devices, whose vCPU runs one program. Thread-compatible.
class BarChecksBench {
 public:
  static absl::StatusOr<std::unique_ptr<BarChecksBench>> Create(
      const BarChecksHost& host, bool peer_to_peer);

  // Passes a device through, and turns its memory and its DMA on.
  absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> Attach(
      pci::Bdf host);

  // Runs a program on the vCPU. To be called once.
  absl::Status Run(guest::GuestProgram program);
  // Returns how many loads and stores of the guest have exited. For the
  // program.
  uint64_t MemoryExits() const;

  Machine& machine() { return *machine_; }

 private:
  explicit BarChecksBench(const BarChecksHost& host) : host_(host) {}

  const BarChecksHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  std::unique_ptr<VcpuRunner> runner_;
};

// Returns what is known of a BAR. NotFound if the device has none of it.
absl::StatusOr<vfio_pci::BarReport> FindBar(
    const vfio_pci::VfioPciDevice& device, uint8_t index);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_BAR_CHECKS_BENCH_H_
