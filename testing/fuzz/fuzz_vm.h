// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_
#define PASSTHRU_TESTING_FUZZ_FUZZ_VM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "devices/kernel/syscalls.h"
#include "pci/bdf.h"
#include "testing/guest_cpu.h"
#include "testing/kernel_version.h"
#include "testing/leak_check.h"
#include "testing/proto/device.pb.h"
#include "testing/simulated_host.h"
#include "vmm/device_manager.h"
#include "vmm/machine.h"

namespace passthru::fuzz {

// A fixture of testing/fixtures, by name: "nvme". Read once.
const fake::PciDevice& Fixture(const std::string& name);

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
  absl::Status AddDevice(const fake::PciDevice& fixture, pci::Bdf bdf);

  // Makes the machine. `syscalls` is between it and the simulated kernel, until
  // Stop(); null: nothing is.
  absl::Status Start(kernel::Syscalls* syscalls = nullptr);

  // Runs a guest until it returns. Once.
  absl::Status RunGuest(fake::GuestProgram program);

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
