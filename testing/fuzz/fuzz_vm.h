// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_
#define PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::fuzz {

// Returns a fixture of testing/fixtures by name, for example "nvme". Reads each
// file once.
const fixture::PciDevice& Fixture(const std::string& name);

// A simulated host with a machine that lasts for one fuzz input. The target
// plugs devices in and then calls Start(). By the end of Stop() the machine
// must have given everything back to the kernel.
//
// Thread-compatible.
class FuzzVm {
 public:
  explicit FuzzVm(fake::KernelVersion version);
  FuzzVm(const FuzzVm&) = delete;
  FuzzVm& operator=(const FuzzVm&) = delete;
  // Calls Stop().
  ~FuzzVm();

  // Adds a device in a group of its own, with the model that the fixture names.
  absl::Status AddDevice(const fixture::PciDevice& fixture, pci::Bdf bdf);

  // Makes the machine. `syscalls` is between it and the simulated kernel until
  // Stop(). If it is null, the machine uses the simulated kernel directly.
  absl::Status Start(kernel::Syscalls* syscalls = nullptr,
                     vmm::DeviceManagerOptions options = {});

  // Runs a guest until it returns. The target may call this once.
  absl::Status RunGuest(guest::GuestProgram program);

  // Detaches the devices, and crashes if anything is left in the kernel.
  void Stop();

  fake::SimulatedHost& host() { return host_; }
  // Returns null until Start() has succeeded.
  vmm::Machine* machine() { return machine_.get(); }
  vmm::DeviceManager* devices() { return devices_.get(); }

 private:
  fake::SimulatedHost host_;
  uint32_t groups_ = 0;
  bool truthful_ = true;  // Whether no kernel that may lie is in between.
  std::unique_ptr<vmm::Machine> machine_;
  std::unique_ptr<vmm::DeviceManager> devices_;
  // The resources of the machine without devices.
  fake::ResourceSnapshot empty_machine_;
};

}  // namespace passthru::fuzz

#endif  // PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_
