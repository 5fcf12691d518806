// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_VM_COMMANDS_H_
#define PASSTHRU_VMM_LINUX_VM_VM_COMMANDS_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/linux_vm/linux_vm.h"

namespace passthru::vmm {

// The commands that a VM takes while it runs (ControlServer). Run() says which
// there are if it is asked for help.
//
// Thread-safe.
class VmCommands {
 public:
  // Plugs the device of a flag's value (DeviceFlag) and returns where the guest
  // has it. Called by several threads.
  using PlugDevice =
      std::function<absl::StatusOr<pci::Bdf>(std::string_view device)>;

  // `vm` must outlive this object.
  VmCommands(LinuxVm* vm, PlugDevice plug) : vm_(vm), plug_(std::move(plug)) {}

  // Carries a command out and returns the text of the answer, or a sentence
  // that says why there is none.
  absl::StatusOr<std::string> Run(std::string_view command);

 private:
  absl::StatusOr<std::string> Inspect(std::string_view format);
  std::string ListDevices();
  absl::StatusOr<std::string> Plug(std::string_view device);
  absl::StatusOr<std::string> Unplug(std::string_view name,
                                     std::string_view seconds);
  // Returns where the guest has the device of a host address.
  absl::StatusOr<pci::Bdf> FindDevice(std::string_view name);

  LinuxVm* const vm_;
  const PlugDevice plug_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_VM_COMMANDS_H_
