// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_VM_SETUP_H_
#define PASSTHRU_VMM_LINUX_VM_VM_SETUP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/linux_vm/device_flag.h"
#include "passthru/vmm/linux_vm/linux_vm.h"

namespace passthru::vmm {

// A device as a flag or a command names it.
struct NamedDevice {
  std::string text;  // with its options
  pci::Bdf host;
};

// What the flags say, and what stays while the guest resets.
struct Setup {
  std::vector<uint8_t> kernel;
  std::vector<uint8_t> initrd;
  LinuxVm::Options options;
  std::unique_ptr<fake::SimulatedHost> host;
  std::unique_ptr<kernel::LinuxSyscalls> linux_kernel;
  std::unique_ptr<journal::CallRecorder> calls;
  // Those that the machine has when it starts.
  std::vector<NamedDevice> devices;
};

// Returns what the flags of passthrough_vm say.
absl::StatusOr<Setup> SetupFromFlags();

// Returns the host device of a name, which is its address, or the file of a
// fixture whose device is new on the simulated host.
absl::StatusOr<pci::Bdf> FindHostDevice(const Setup& setup,
                                        const std::string& name);

// Fills in what a flag has of a device by name.
absl::Status Complete(DeviceFlag& flag, pci::Bdf host);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_VM_SETUP_H_
