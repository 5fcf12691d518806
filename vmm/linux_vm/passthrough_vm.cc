// SPDX-License-Identifier: Apache-2.0
//
// passthrough_vm boots an unmodified Linux kernel in a VM and passes PCI
// devices through to it. This file has the flags, the terminal and the signals.
// LinuxVm is the VM.

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/control/control_server.h"
#include "passthru/vmm/linux_vm/device_flag.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/reporter.h"
#include "passthru/vmm/linux_vm/vm_commands.h"
#include "passthru/vmm/platform/serial_port.h"
#include "passthru/vmm/platform/terminal.h"
#include "passthru/vmm/root_ports.h"

ABSL_FLAG(std::string, kernel, "",
          "The Linux kernel to boot, a bzImage such as /boot/vmlinuz.");
ABSL_FLAG(std::string, initrd, "", "Its initrd, if it needs one.");
ABSL_FLAG(std::string, append, "console=ttyS0", "The kernel's command line.");
ABSL_FLAG(std::string, memory, "1G", "The guest's memory, such as 512M or 4G.");
ABSL_FLAG(std::string, low_memory_end, "2G",
          "Where memory below 4 GiB ends. What the guest has more is above.");
ABSL_FLAG(uint32_t, vcpus, 1, "How many vCPUs the guest has.");
ABSL_FLAG(std::string, device, "",
          "The address of a host device that is bound to vfio-pci, and perhaps "
          "options, as in 0000:01:00.0,slot=4,rom=off. Give the flag again for "
          "another device. --help lists the options above.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_device>);
ABSL_FLAG(std::string, fixture, "",
          "The file of a captured device, and perhaps the same options. The "
          "device is simulated, and the guest is a real one. Give the flag "
          "again for another device.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_fixture>);
ABSL_FLAG(bool, peer_to_peer, false,
          "Whether devices may do DMA to the BARs of one another.");
ABSL_FLAG(uint32_t, root_ports, 0,
          "How many PCI Express root ports the guest has. Devices are plugged "
          "and unplugged behind them (--control), and sit there from the start "
          "with the option port=0.");
ABSL_FLAG(std::string, root_port_windows, "",
          "How much of the guest's addresses each root port has for what will "
          "be behind it, such as memory=64M,prefetchable=8G,io=0. The default "
          "is memory=2M,prefetchable=1G,io=4K.");
ABSL_FLAG(std::string, control, "",
          "The path of a socket at which the VM takes commands while it runs. "
          "`bazel run //vmm:control -- PATH help` lists them.");
ABSL_FLAG(bool, reboot, false,
          "Starts the machine again when the guest resets it, instead of "
          "ending.");
ABSL_FLAG(bool, statistics, false,
          "Prints at the end how often KVM_RUN returned and which calls of the "
          "kernel were made.");
ABSL_FLAG(std::string, report, "",
          "A file that becomes a page when the VM ends: the devices, a "
          "timeline of exits, kernel calls and interrupts, and counts. With "
          "--reboot it is about the last life of the machine.");
ABSL_FLAG(std::string, trace, "",
          "A file that becomes the timeline alone, which trace viewers such as "
          "Perfetto open.");

namespace passthru::vmm {
namespace {

// All values of the repeated flags.
const std::vector<std::string>& Devices() {
  return program::Values<FLAGS_device>();
}
const std::vector<std::string>& Fixtures() {
  return program::Values<FLAGS_fixture>();
}

// The exit statuses beside those of program::Finish(). 128 and the number of a
// signal stand for that signal.
constexpr int kPoweredOff = 0;
constexpr int kGuestReset = 3;
constexpr int kTripleFault = 4;
constexpr int kSignalBase = 128;
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

// Returns the host device of a name, which is its address, or the file of a
// fixture whose device is new on the simulated host.
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

// Fills in what a flag has of a device by name.
absl::Status Complete(DeviceFlag& flag, pci::Bdf host) {
  flag.options.host = host;
  if (flag.rom.empty()) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(flag.options.device.rom.bytes,
                            FileBytes("rom=", flag.rom));
  return absl::OkStatus();
}

// Attaches the devices and tells the user where the guest finds them.
absl::Status Attach(const Setup& setup, LinuxVm& vm) {
  for (const NamedDevice& device : setup.devices) {
    PASSTHRU_ASSIGN_OR_RETURN(DeviceFlag flag, ParseDeviceFlag(device.text));
    PASSTHRU_RETURN_IF_ERROR(Complete(flag, device.host));
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf guest,
                              vm.devices().Attach(std::move(flag.options)));
    std::cerr << "passthrough_vm: " << flag.name << " is the guest's "
              << guest.ToString() << "\n";
  }
  return absl::OkStatus();
}

void PrintStatistics(LinuxVm& vm, journal::CallRecorder& calls) {
  const ExitCounts exits = vm.exits();
  const uint64_t serial = vm.serial().accesses();
  std::cerr << "passthrough_vm: KVM_RUN returned " << exits.total()
            << " times: port reads " << exits.io_reads << ", port writes "
            << exits.io_writes << ", memory reads " << exits.mmio_reads
            << ", memory writes " << exits.mmio_writes << ", interrupted "
            << exits.interrupted << ", memory faults " << exits.faults
            << "; of the port accesses " << serial
            << " were those of the serial console\n"
            << "passthrough_vm: kernel calls:";
  for (const auto& [name, count] : calls.Take()) {
    if (absl::StartsWith(name, "KVM_") || absl::StartsWith(name, "VFIO_")) {
      std::cerr << " " << name << " " << count;
    }
  }
  std::cerr << "\n";
}

// The input of the guest's console, and the signals that end the VM, as events
// of the VM's loop.
class UserEvents {
 public:
  // `signals` is a signalfd, and -1 stands for none.
  UserEvents(LinuxVm* vm, kernel::Syscalls* syscalls, int signals)
      : vm_(vm), syscalls_(syscalls), signals_(signals) {}
  UserEvents(const UserEvents&) = delete;
  UserEvents& operator=(const UserEvents&) = delete;
  ~UserEvents() {
    kernel::EpollEventLoop& loop = vm_->machine().loop();
    if (watches_input_) loop.Remove(STDIN_FILENO).IgnoreError();
    if (watches_signals_) loop.Remove(signals_).IgnoreError();
  }

  absl::Status Watch() {
    kernel::EpollEventLoop& loop = vm_->machine().loop();
    PASSTHRU_RETURN_IF_ERROR(
        loop.Add(signals_, /*edge_triggered=*/false, [this] { OnSignal(); }));
    watches_signals_ = true;
    absl::Status status =
        loop.Add(STDIN_FILENO, /*edge_triggered=*/false, [this] { OnInput(); });
    watches_input_ = status.ok();
    if (status.ok()) return status;
    // epoll refuses a file and /dev/null, which never make one wait, and a
    // descriptor that is closed.
    const int error = kernel::ErrnoOf(status);
    if (error == EBADF) return absl::OkStatus();
    if (error != EPERM) return status;
    // The port keeps no more.
    for (size_t i = 0; i < SerialPort::kInputLimit && ReadInput(); ++i) {
    }
    return absl::OkStatus();
  }

  // The signal or key that asked for the end, as the signal's number.
  int signal() const { return signal_; }

 private:
  void OnSignal() {
    signalfd_siginfo info = {};
    const auto got = syscalls_->Read(signals_, &info, sizeof(info));
    if (!got.ok() || got.value != sizeof(info)) return;
    signal_ = static_cast<int>(info.ssi_signo);
    vm_->RequestEnd();
  }

  void OnInput() {
    if (ReadInput()) return;
    // The input is at its end, and would be readable for ever.
    vm_->machine().loop().Remove(STDIN_FILENO).IgnoreError();
    watches_input_ = false;
  }

  // Returns false if nothing is left.
  bool ReadInput() {
    char buffer[256];
    const auto got = syscalls_->Read(STDIN_FILENO, buffer, sizeof(buffer));
    if (!got.ok()) return got.error == EINTR || got.error == EAGAIN;
    if (got.value == 0) return false;
    const std::string_view bytes(buffer, got.value);
    if (!terminal_.is_terminal()) {
      vm_->serial().Input(bytes);
      return true;
    }
    const EscapeKeys::Result keys = keys_.Take(bytes);
    vm_->serial().Input(keys.input);
    if (keys.quit) {
      signal_ = SIGINT;
      vm_->RequestEnd();
    }
    return true;
  }

  LinuxVm* const vm_;
  kernel::Syscalls* const syscalls_;
  const int signals_;
  const RawTerminal terminal_{STDIN_FILENO};
  EscapeKeys keys_;
  std::atomic<bool> watches_input_ = false;
  bool watches_signals_ = false;
  std::atomic<int> signal_ = 0;
};

// The devices that are plugged while a VM runs.
class PluggedDevices {
 public:
  PluggedDevices(const Setup* setup, LinuxVm* vm) : setup_(setup), vm_(vm) {}

  absl::StatusOr<pci::Bdf> Plug(std::string_view text) {
    PASSTHRU_ASSIGN_OR_RETURN(DeviceFlag flag, ParseDeviceFlag(text));
    absl::MutexLock lock(&mutex_);
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf host,
                              FindHostDevice(*setup_, flag.name));
    PASSTHRU_RETURN_IF_ERROR(Complete(flag, host));
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf guest,
                              vm_->Plug(std::move(flag.options)));
    // After a reset it is behind the same port.
    const size_t port = *vm_->devices().root_ports().PortOf(guest);
    devices_.push_back(
        {.text = absl::StrCat(text, ",port=", port), .host = host});
    return guest;
  }

  std::vector<NamedDevice> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(devices_, {});
  }

 private:
  const Setup* const setup_;
  LinuxVm* const vm_;
  // Held while a device is plugged, for the simulated host too.
  absl::Mutex mutex_;
  std::vector<NamedDevice> devices_ ABSL_GUARDED_BY(mutex_);
};

// Makes the devices that the VM has kept those of its next life.
void KeepDevices(const LinuxVm& vm, std::vector<NamedDevice> plugged,
                 Setup& setup) {
  for (NamedDevice& device : plugged) {
    // It may have been there before.
    std::erase_if(setup.devices, [&device](const NamedDevice& earlier) {
      return earlier.host == device.host;
    });
    setup.devices.push_back(std::move(device));
  }
  const std::vector<std::string> kept = vm.kept();
  std::erase_if(setup.devices, [&kept](const NamedDevice& device) {
    return std::find(kept.begin(), kept.end(), device.host.ToString()) ==
           kept.end();
  });
}

absl::StatusOr<int> RunVm(Setup& setup, const LinuxVm::Options& options,
                          int signals, Reporter& reporter) {
  PASSTHRU_ASSIGN_OR_RETURN(auto vm, LinuxVm::Create(options));
  reporter.Watch(vm.get());
  const absl::Cleanup end_report = [&reporter] { reporter.End(); };
  reporter.Begin("attach");
  PASSTHRU_RETURN_IF_ERROR(Attach(setup, *vm));
  UserEvents events(vm.get(), options.syscalls, signals);
  PASSTHRU_RETURN_IF_ERROR(events.Watch());
  PluggedDevices plugged(&setup, vm.get());
  VmCommands commands(vm.get(), [&plugged](std::string_view device) {
    return plugged.Plug(device);
  });
  std::unique_ptr<ControlServer> control;
  if (const std::string path = absl::GetFlag(FLAGS_control); !path.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(
        control,
        ControlServer::Create(setup.options.syscalls, program::UserPath(path),
                              [&commands](std::string_view command) {
                                return commands.Run(command);
                              }));
  }
  reporter.Begin("run");
  absl::StatusOr<VmEnd> end = vm->Run();
  control.reset();
  KeepDevices(*vm, plugged.Take(), setup);
  if (setup.calls != nullptr) PrintStatistics(*vm, *setup.calls);
  if (!end.ok()) return end.status();
  std::cerr << "passthrough_vm: " << Name(*end) << "\n";
  switch (*end) {
    case VmEnd::kPowerOff:
      return kPoweredOff;
    case VmEnd::kReset:
      // With --reboot, what asked for the end meanwhile must not be lost.
      if (vm->end_requested()) break;
      return kGuestReset;
    case VmEnd::kTripleFault:
      return kTripleFault;
    case VmEnd::kRequested:
      break;
  }
  // The command quit is no signal.
  return events.signal() == 0 ? kPoweredOff : kSignalBase + events.signal();
}

// Runs one life of the machine. Returns the exit status.
absl::StatusOr<int> RunOnce(Setup& setup, int signals) {
  Reporter::Options wanted = {.page = absl::GetFlag(FLAGS_report),
                              .trace = absl::GetFlag(FLAGS_trace),
                              .host = setup.host.get()};
  if (setup.host != nullptr) {
    for (const NamedDevice& device : setup.devices) {
      wanted.fixtures[device.host] = device.text;
    }
  }
  Reporter reporter(std::move(wanted));
  PASSTHRU_RETURN_IF_ERROR(reporter.Open());
  LinuxVm::Options options = setup.options;
  reporter.AddTo(options);
  reporter.Begin("create VM");
  absl::StatusOr<int> status = RunVm(setup, options, signals, reporter);
  const absl::Status written = reporter.Write();
  if (status.ok() && !written.ok()) return written;
  return status;
}

// Blocks the signals that end the VM in all threads, and returns a descriptor
// that is readable when one arrives.
absl::StatusOr<int> SignalDescriptor() {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, number);
  const int error = pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  if (error != 0) {
    return kernel::ErrnoError(error, "pthread_sigmask(SIG_BLOCK)");
  }
  // A reader of the console that goes away must not end the VM.
  signal(SIGPIPE, SIG_IGN);
  const int fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return kernel::ErrnoError(errno, "signalfd()");
  return fd;
}

absl::StatusOr<int> Main(const std::vector<char*>& arguments) {
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", arguments[1], "' is not a flag. --help lists the flags."));
  }
  PASSTHRU_ASSIGN_OR_RETURN(const int signals, SignalDescriptor());
  PASSTHRU_ASSIGN_OR_RETURN(Setup setup, SetupFromFlags());
  for (;;) {
    PASSTHRU_ASSIGN_OR_RETURN(const int status, RunOnce(setup, signals));
    if (status != kGuestReset || !absl::GetFlag(FLAGS_reboot)) return status;
  }
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  constexpr char kName[] = "passthrough_vm";
  const std::string usage = absl::StrCat(
      "Boots a Linux kernel in a VM and passes PCI devices through to it. The "
      "guest's first serial port is this terminal, where Ctrl-A x ends the VM "
      "and Ctrl-A Ctrl-A stands for Ctrl-A.\n"
      "  passthrough_vm --kernel=/boot/vmlinuz --initrd=/boot/initrd.img "
      "--device=0000:01:00.0\n"
      "Options of --device and --fixture, after a comma each:\n",
      passthru::vmm::DeviceOptionsHelp(),
      "The exit status is 0 if the guest turned the power off or the command "
      "quit ended the VM (--control), 1 after a "
      "failure or for a flag that cannot be parsed, 2 for a value that cannot "
      "be, 3 if the guest reset itself, 4 "
      "after a triple fault, and 128 plus the number of the signal that ended "
      "the VM (130 for Ctrl-A x).\n");
  const auto arguments = passthru::program::Start(
      argc, argv, kName, usage, absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(kName, passthru::vmm::Main(arguments));
}
