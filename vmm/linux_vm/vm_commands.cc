// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/vm_commands.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/inspect/machine_state.h"
#include "passthru/vmm/inspect/state_tree.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {
namespace {

constexpr std::string_view kCommands =
    "  inspect [json]           the state of the VM and its devices\n"
    "  devices                  the devices, and the root ports of the guest\n"
    "  plug DEVICE[,OPTION...]  plugs a device, behind the first empty root "
    "port\n"
    "                           unless port=N names another (see the flag "
    "--device)\n"
    "  unplug DEVICE [SECONDS]  asks the guest for a device, and waits until "
    "it "
    "is gone\n"
    "                           (60 seconds). Then the guest loses it by "
    "surprise\n"
    "  reset                    resets the machine, as its button would\n"
    "  quit                     ends the VM\n"
    "  help                     this list\n";

absl::Status Unknown(std::string_view command) {
  return absl::InvalidArgumentError(absl::StrCat(
      "'", command, "' is no command, or has other arguments. There are:\n",
      kCommands));
}

}  // namespace

absl::StatusOr<std::string> VmCommands::Run(std::string_view command) {
  const std::vector<std::string_view> words =
      absl::StrSplit(command, ' ', absl::SkipEmpty());
  const std::string_view name = words.empty() ? "" : words[0];
  const auto is = [&](std::string_view wanted, size_t least, size_t most) {
    return name == wanted && words.size() >= least + 1 &&
           words.size() <= most + 1;
  };
  if (is("help", 0, 0)) return std::string(kCommands);
  if (is("inspect", 0, 1)) return Inspect(words.size() > 1 ? words[1] : "");
  if (is("devices", 0, 0)) return ListDevices();
  if (is("plug", 1, 1)) return Plug(words[1]);
  if (is("unplug", 1, 2)) {
    return Unplug(words[1], words.size() > 2 ? words[2] : "");
  }
  if (is("reset", 0, 0)) {
    vm_->RequestReset();
    return "the machine is reset\n";
  }
  if (is("quit", 0, 0)) {
    vm_->RequestEnd();
    return "the VM ends\n";
  }
  return Unknown(command);
}

absl::StatusOr<std::string> VmCommands::Inspect(std::string_view format) {
  if (!format.empty() && format != "json") {
    return absl::InvalidArgumentError(absl::StrCat(
        "inspect answers as text or json, and not '", format, "'"));
  }
  const StateTree tree =
      DescribeMachine(vm_->machine(), vm_->devices(), vm_->exits());
  return format.empty() ? tree.ToText() : tree.ToJson();
}

std::string VmCommands::ListDevices() {
  std::string text;
  RootPorts& ports = vm_->devices().root_ports();
  for (const pci::Bdf guest : vm_->devices().Devices()) {
    const auto device = vm_->devices().Find(guest);
    if (device == nullptr) continue;
    absl::StrAppend(&text, device->name(), " is the guest's ", guest);
    if (const std::optional<size_t> port = ports.PortOf(guest)) {
      absl::StrAppend(&text, ", behind root port ", *port,
                      ports.port(*port).removal_requested()
                          ? ", and the guest is asked for it"
                          : "");
    }
    text += '\n';
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    if (ports.port(i).card_present()) continue;
    absl::StrAppend(&text, "root port ", i, ", the guest's ", ports.place(i),
                    ", is empty\n");
  }
  return text.empty() ? "the guest has no device\n" : text;
}

absl::StatusOr<std::string> VmCommands::Plug(std::string_view device) {
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf guest, plug_(device));
  return absl::StrCat("the guest finds it behind root port ",
                      *vm_->devices().root_ports().PortOf(guest), "\n");
}

absl::StatusOr<pci::Bdf> VmCommands::FindDevice(std::string_view name) {
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf host, vfio::ParseHostDevice(name));
  std::vector<std::string> there;
  for (const pci::Bdf guest : vm_->devices().Devices()) {
    const auto device = vm_->devices().Find(guest);
    if (device == nullptr) continue;
    if (device->name() == host.ToString()) return guest;
    there.push_back(device->name());
  }
  return absl::NotFoundError(
      absl::StrCat("the guest does not have ", host, ", but ",
                   there.empty() ? "no device" : absl::StrJoin(there, ", ")));
}

absl::StatusOr<std::string> VmCommands::Unplug(std::string_view name,
                                               std::string_view seconds) {
  absl::Duration time = LinuxVm::kUnplugTime;
  if (!seconds.empty()) {
    uint32_t count = 0;
    if (!absl::SimpleAtoi(seconds, &count)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", seconds, "' is no number of seconds for which to wait"));
    }
    time = absl::Seconds(count);
  }
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf guest, FindDevice(name));
  PASSTHRU_ASSIGN_OR_RETURN(const UnplugEnd end, vm_->Unplug(guest, time));
  switch (end) {
    case UnplugEnd::kLetGo:
      return "the guest let go of it\n";
    case UnplugEnd::kTaken:
      return "the guest did not let go of it in time, and lost it by "
             "surprise\n";
    case UnplugEnd::kVmEnded:
      break;
  }
  return "the VM ended before the guest let go of it\n";
}

}  // namespace passthru::vmm
