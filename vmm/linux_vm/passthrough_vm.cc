// SPDX-License-Identifier: Apache-2.0
//
// passthrough_vm boots an unmodified Linux kernel in a VM and passes PCI
// devices through to it. This file does what the flags say (vm_flags.h).
// LinuxVm is the VM.

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
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
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/control/control_server.h"
#include "passthru/vmm/linux_vm/device_flag.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/reporter.h"
#include "passthru/vmm/linux_vm/user_events.h"
#include "passthru/vmm/linux_vm/vm_commands.h"
#include "passthru/vmm/root_ports.h"
#include "vmm/linux_vm/vm_setup.h"

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

// The exit statuses beside those of program::Finish(). 128 and the number of a
// signal stand for that signal.
constexpr int kPoweredOff = 0;
constexpr int kGuestReset = 3;
constexpr int kTripleFault = 4;
constexpr int kSignalBase = 128;
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
