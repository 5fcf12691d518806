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

// A fixture of testing/fixtures, by name: "nvme". Read once.
const fixture::PciDevice& Fixture(const std::string& name);

// A simulated host and a machine on it that lasts for one fuzz input. Plug
// devices in, then Start(); in the end everything must have been given back.
//
// Thread-compatible.
class FuzzVm {
 public:
  explicit FuzzVm(fake::KernelVersion version);
  FuzzVm(const FuzzVm&) = delete;
  FuzzVm& operator=(const FuzzVm&) = delete;
  // As Stop().
  ~FuzzVm();

  // With the model that the fixture names, in a group of its own.
  absl::Status AddDevice(const fixture::PciDevice& fixture, pci::Bdf bdf);

  // Makes the machine. `syscalls` is between it and the simulated kernel, until
  // Stop(); null: nothing is.
  absl::Status Start(kernel::Syscalls* syscalls = nullptr);

  // Runs a guest until it returns. Once.
  absl::Status RunGuest(guest::GuestProgram program);

  // Detaches, and dies of whatever is left in the kernel. Once.
  void Stop();

  fake::SimulatedHost& host() { return host_; }
  // Null until Start() has succeeded.
  vmm::Machine* machine() { return machine_.get(); }
  vmm::DeviceManager* devices() { return devices_.get(); }

 private:
  fake::SimulatedHost host_;
  uint32_t groups_ = 0;
  bool truthful_ = true;  // there is nothing between that may lie
  std::unique_ptr<vmm::Machine> machine_;
  std::unique_ptr<vmm::DeviceManager> devices_;
  // What the machine holds without devices.
  fake::ResourceSnapshot empty_machine_;
};

}  // namespace passthru::fuzz

#endif  // PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_
