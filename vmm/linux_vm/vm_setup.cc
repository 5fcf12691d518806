// SPDX-License-Identifier: Apache-2.0
#include "vmm/linux_vm/vm_setup.h"

#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/root_ports.h"

ABSL_DECLARE_FLAG(std::string, kernel);
ABSL_DECLARE_FLAG(std::string, initrd);
ABSL_DECLARE_FLAG(std::string, append);
ABSL_DECLARE_FLAG(std::string, memory);
ABSL_DECLARE_FLAG(std::string, low_memory_end);
ABSL_DECLARE_FLAG(uint32_t, vcpus);
ABSL_DECLARE_FLAG(std::string, device);
ABSL_DECLARE_FLAG(std::string, fixture);
ABSL_DECLARE_FLAG(bool, peer_to_peer);
ABSL_DECLARE_FLAG(uint32_t, root_ports);
ABSL_DECLARE_FLAG(std::string, root_port_windows);
ABSL_DECLARE_FLAG(bool, statistics);

namespace passthru::vmm {
namespace {

// All values of the repeated flags.
const std::vector<std::string>& Devices() {
  return program::Values<FLAGS_device>();
}
const std::vector<std::string>& Fixtures() {
  return program::Values<FLAGS_fixture>();
}

// Slot 0 of bus 0 is the host bridge's.
constexpr uint32_t kMostRootPorts = 31;

absl::StatusOr<std::vector<uint8_t>> FileBytes(const std::string& flag,
                                               const std::string& path) {
  const std::string full_path = program::UserPath(path);
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(full_path, error);
  constexpr uintmax_t kLargest = uintmax_t{4} << 30;
  if (!error && size > kLargest) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, path, " has ", size, " bytes, which is more than 4 GiB."));
  }
  std::ifstream in(full_path, std::ios::binary);
  std::vector<uint8_t> bytes(error ? 0 : size);
  in.read(reinterpret_cast<char*>(bytes.data()),
          static_cast<std::streamsize>(bytes.size()));
  if (error || !in.good()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, path, " cannot be read: ",
                     error ? error.message() : "the file is shorter now", "."));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<pci::Bdf> FindHostDevice(const Setup& setup,
                                        const std::string& name) {
  absl::StatusOr<pci::Bdf> address = vfio::ParseHostDevice(name);
  if (setup.host == nullptr || address.ok()) return address;
  absl::StatusOr<pci::Bdf> added =
      setup.host->AddFixture(program::UserPath(name));
  if (absl::IsAlreadyExists(added.status())) {
    return absl::AlreadyExistsError(
        absl::StrCat(added.status().message(), ". Name it by this address."));
  }
  return added;
}

namespace {

absl::Status AddDevices(Setup& setup) {
  if (!Fixtures().empty() && !Devices().empty()) {
    return absl::InvalidArgumentError(
        "--device names real devices and --fixture simulated ones. Give only "
        "one of the two flags.");
  }
  if (!Fixtures().empty()) {
    fake::SimulatedHost::Options options;
    options.kernel.passthrough_kvm = true;
    setup.host = std::make_unique<fake::SimulatedHost>(std::move(options));
  }
  for (const std::string& text : Fixtures().empty() ? Devices() : Fixtures()) {
    PASSTHRU_ASSIGN_OR_RETURN(const DeviceFlag flag, ParseDeviceFlag(text));
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf host,
                              FindHostDevice(setup, flag.name));
    setup.devices.push_back({.text = text, .host = host});
  }
  if (setup.host != nullptr) setup.host->kernel().StartDeviceThread();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Setup> SetupFromFlags() {
  Setup setup;
  const std::string kernel_path = absl::GetFlag(FLAGS_kernel);
  if (kernel_path.empty()) {
    return absl::InvalidArgumentError(
        "there is no kernel to boot. Give --kernel=/boot/vmlinuz or another "
        "one.");
  }
  PASSTHRU_ASSIGN_OR_RETURN(setup.kernel, FileBytes("--kernel=", kernel_path));
  if (const std::string path = absl::GetFlag(FLAGS_initrd); !path.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(setup.initrd, FileBytes("--initrd=", path));
    if (setup.initrd.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--initrd=", path, " is empty."));
    }
  }
  LinuxVm::Options& options = setup.options;
  PASSTHRU_ASSIGN_OR_RETURN(options.memory_size,
                            ParseSize(absl::GetFlag(FLAGS_memory)));
  PASSTHRU_ASSIGN_OR_RETURN(options.low_memory_end,
                            ParseSize(absl::GetFlag(FLAGS_low_memory_end)));
  options.vcpu_count = absl::GetFlag(FLAGS_vcpus);
  options.command_line = absl::GetFlag(FLAGS_append);
  options.peer_to_peer = absl::GetFlag(FLAGS_peer_to_peer);
  PASSTHRU_ASSIGN_OR_RETURN(
      const RootPortOptions port,
      ParsePortWindows(absl::GetFlag(FLAGS_root_port_windows)));
  if (absl::GetFlag(FLAGS_root_ports) > kMostRootPorts) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--root_ports=", absl::GetFlag(FLAGS_root_ports), " is more than ",
        kMostRootPorts, ", for which bus 0 has room."));
  }
  options.root_ports.assign(absl::GetFlag(FLAGS_root_ports), port);
  options.kernel = setup.kernel;
  options.initrd = setup.initrd;
  // The guest must not stop because its output cannot be written. A reader that
  // does not read for a second loses what follows, until it reads again.
  options.console = [stalled = false](uint8_t byte) mutable {
    pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
    stalled = poll(&out, 1, stalled ? 0 : 1000) <= 0;
    if (!stalled && write(STDOUT_FILENO, &byte, 1) < 0) stalled = true;
  };
  PASSTHRU_RETURN_IF_ERROR(AddDevices(setup));
  if (setup.host == nullptr) {
    setup.linux_kernel = std::make_unique<kernel::LinuxSyscalls>();
  }
  options.syscalls = setup.linux_kernel.get();
  if (setup.host != nullptr) options.syscalls = &setup.host->kernel();
  if (absl::GetFlag(FLAGS_statistics)) {
    setup.calls = std::make_unique<journal::CallRecorder>(options.syscalls);
    options.syscalls = setup.calls.get();
  }
  return setup;
}

absl::Status Complete(DeviceFlag& flag, pci::Bdf host) {
  flag.options.host = host;
  if (flag.rom.empty()) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(flag.options.device.rom.bytes,
                            FileBytes("rom=", flag.rom));
  return absl::OkStatus();
}

}  // namespace passthru::vmm
