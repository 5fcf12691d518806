// SPDX-License-Identifier: Apache-2.0
//
// machine_reset HOST... passes devices through to a machine on this host's
// /dev/kvm and /dev/vfio, as functions of one slot in the guest. It turns their
// memory and their DMA on, resets the machine, and turns them on again. It
// prints how each is reset. It fails if the reset does, or if a device does not
// work afterwards.

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

constexpr uint8_t kResetSlot = 3;
constexpr uint16_t kCommandRegister = 0x04;

// Writes COMMAND and returns what it then reads.
uint8_t WriteCommand(Machine& machine, pci::Bdf guest, uint8_t value) {
  std::vector<uint8_t> bytes = {value, 0};
  machine.segment().ConfigWrite(guest, kCommandRegister, bytes);
  machine.segment().ConfigRead(guest, kCommandRegister, absl::MakeSpan(bytes));
  return bytes[0];
}

// Turns memory and DMA on.
absl::Status Use(Machine& machine, DeviceManager& devices, pci::Bdf guest) {
  const uint8_t command = WriteCommand(machine, guest, 0x06);
  const auto device = devices.Find(guest);
  if ((command & 0x06) != 0x06) {
    return absl::InternalError(device->name() + " cannot be turned on");
  }
  const vfio_pci::DeviceReport report = device->Describe();
  if (!report.degraded.empty() || !report.failures.empty()) {
    for (const std::string& line : vfio_pci::ToLines(report)) {
      std::cout << "  " << line << "\n";
    }
    return absl::InternalError(device->name() + " does not work as it should");
  }
  return absl::OkStatus();
}

absl::Status Main(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.size() > 8) {
    return absl::InvalidArgumentError("usage: machine_reset HOST...");
  }
  kernel::LinuxSyscalls linux_kernel;
  PASSTHRU_ASSIGN_OR_RETURN(auto machine,
                            Machine::Create({.syscalls = &linux_kernel}));
  PASSTHRU_ASSIGN_OR_RETURN(auto devices, DeviceManager::Create(machine.get()));
  std::vector<pci::Bdf> guests;
  for (const std::string& argument : arguments) {
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf host, pci::Bdf::Parse(argument));
    const pci::Bdf guest(0, 0, kResetSlot, static_cast<uint8_t>(guests.size()));
    PASSTHRU_RETURN_IF_ERROR(
        devices->Attach({.host = host, .guest = guest}).status());
    guests.push_back(guest);
    std::cout << "  " << host.ToString() << " at " << guest.ToString()
              << " has: " << devices->Find(guest)->Describe().reset.ToString()
              << "\n";
  }
  for (const pci::Bdf guest : guests) {
    PASSTHRU_RETURN_IF_ERROR(Use(*machine, *devices, guest));
  }
  PASSTHRU_RETURN_IF_ERROR(devices->Reset());
  for (const pci::Bdf guest : guests) {
    std::vector<uint8_t> command(1);
    machine->segment().ConfigRead(guest, kCommandRegister,
                                  absl::MakeSpan(command));
    if ((command[0] & 0x07) != 0) {
      return absl::InternalError(devices->Find(guest)->name() +
                                 " is on after the reset");
    }
    PASSTHRU_RETURN_IF_ERROR(Use(*machine, *devices, guest));
  }
  std::cout << "  the machine is reset, and its devices work again\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::vmm::Main(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cout << "machine_reset: " << status.message() << "\n";
  return 1;
}
