// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/simulate/options.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::simulate {
namespace {

constexpr int kLastErrno = 133;

absl::Status BadValue(std::string_view option, std::string_view value,
                      std::string_view possible) {
  return absl::InvalidArgumentError(absl::StrCat(
      option, "=", value, " is not possible. Give ", possible, "."));
}

std::string DriverNamed(std::string_view name) {
  return name == "none" ? std::string() : std::string(name);
}

// Parses FILE and what may follow it behind commas.
absl::StatusOr<DeviceOption> ParseDevice(std::string_view value) {
  const std::vector<std::string> parts = absl::StrSplit(value, ',');
  DeviceOption device{.fixture = parts[0]};
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(parts[i], absl::MaxSplits('=', 1));
    uint32_t number = 0;
    if (pair.first == "address") {
      PASSTHRU_ASSIGN_OR_RETURN(const auto bdf, pci::Bdf::Parse(pair.second));
      device.address = bdf;
    } else if (pair.first == "group" &&
               absl::SimpleAtoi(pair.second, &number)) {
      device.group = number;
    } else if (pair.first == "driver") {
      device.driver = DriverNamed(pair.second);
    } else if (pair.first == "disk") {
      device.disk = pair.second;
    } else {
      return BadValue("--fixture", value,
                      "FILE, and behind commas address=0000:01:00.0, "
                      "group=NUMBER, driver=NAME or disk=FILE");
    }
  }
  return device;
}

int ErrnoNamed(std::string_view name) {
  for (int error = 1; error <= kLastErrno; ++error) {
    const char* const candidate = ::strerrorname_np(error);
    if (candidate != nullptr && name == candidate) return error;
  }
  return 0;
}

absl::StatusOr<FailOption> ParseFailure(std::string_view value) {
  const std::vector<std::string> parts = absl::StrSplit(value, ':');
  FailOption failure;
  if (parts.size() == 3 && absl::SimpleAtoi(parts[1], &failure.nth) &&
      failure.nth > 0) {
    failure.call = parts[0];
    failure.error = ErrnoNamed(parts[2]);
    if (failure.error != 0) return failure;
  }
  return BadValue("--fail", value,
                  "CALL:NUMBER:ERRNO, such as VFIO_DEVICE_SET_IRQS:3:ENOSPC");
}

absl::StatusOr<ConnectOption> ParseConnect(std::string_view value) {
  const std::vector<std::string> parts = absl::StrSplit(value, ',');
  if (parts.size() != 2) {
    return BadValue("--connect", value,
                    "the addresses of two devices, such as "
                    "0000:01:00.0,0000:02:00.0");
  }
  ConnectOption wire;
  PASSTHRU_ASSIGN_OR_RETURN(wire.first, pci::Bdf::Parse(parts[0]));
  PASSTHRU_ASSIGN_OR_RETURN(wire.second, pci::Bdf::Parse(parts[1]));
  return wire;
}

absl::StatusOr<fake::KernelVersion> ParseKernel(std::string_view value) {
  if (const auto kernel = fake::KernelVersionNamed(value)) return *kernel;
  std::vector<std::string_view> names;
  for (const fake::KernelVersion version : fake::kAllKernelVersions) {
    names.push_back(fake::Name(version));
  }
  return BadValue("--kernel", value, absl::StrJoin(names, ", "));
}

absl::Status ParseOption(std::string_view name, std::string_view value,
                         Options& options) {
  if (name == "--fixture") {
    PASSTHRU_ASSIGN_OR_RETURN(DeviceOption device, ParseDevice(value));
    options.devices.push_back(std::move(device));
  } else if (name == "--kernel") {
    PASSTHRU_ASSIGN_OR_RETURN(options.kernel, ParseKernel(value));
  } else if (name == "--driver") {
    options.driver = DriverNamed(value);
  } else if (name == "--connect") {
    PASSTHRU_ASSIGN_OR_RETURN(const ConnectOption wire, ParseConnect(value));
    options.wires.push_back(wire);
  } else if (name == "--fail") {
    PASSTHRU_ASSIGN_OR_RETURN(FailOption failure, ParseFailure(value));
    options.failures.push_back(std::move(failure));
  } else if (name == "--journal") {
    options.journal = std::string(value);
  } else if (name == "--library") {
    options.library = std::string(value);
  } else if (name == "--kvm") {
    if (value == "none") {
      options.kvm = Options::Kvm::kNone;
    } else if (value == "real") {
      options.kvm = Options::Kvm::kReal;
    } else if (value == "simulated") {
      options.kvm = Options::Kvm::kSimulated;
    } else {
      return BadValue(name, value, "none, real or simulated");
    }
  } else if (name == "--bars") {
    if (value == "trapped") {
      options.bars = Options::Bars::kTrapped;
    } else if (value == "polled") {
      options.bars = Options::Bars::kPolled;
    } else {
      return BadValue(name, value, "trapped or polled");
    }
  } else if (name == "--check" || name == "--leaks") {
    Options::Check& check = name == "--check" ? options.check : options.leaks;
    if (value == "off") {
      check = Options::Check::kOff;
    } else if (value == "report") {
      check = Options::Check::kReport;
    } else if (value == "fail") {
      check = Options::Check::kFail;
    } else {
      return BadValue(name, value, "report, fail or off");
    }
  } else if (name == "--host_devices") {
    options.host_devices = true;
  } else if (name == "--help") {
    options.help = true;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("There is no option ", name, ". See --help."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Options> ParseOptions(
    const std::vector<std::string>& arguments) {
  Options options;
  size_t next = 0;
  for (; next < arguments.size(); ++next) {
    const std::string& argument = arguments[next];
    if (!absl::StartsWith(argument, "-")) break;
    if (argument == "--") {
      ++next;
      break;
    }
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(argument, absl::MaxSplits('=', 1));
    PASSTHRU_RETURN_IF_ERROR(ParseOption(pair.first, pair.second, options));
  }
  options.program.assign(arguments.begin() + static_cast<ptrdiff_t>(next),
                         arguments.end());
  if (options.help) return options;
  if (options.program.empty()) {
    return absl::InvalidArgumentError(
        "No program is given. Write it behind the options: --fixture=FILE -- "
        "PROGRAM ARGUMENT...; see --help.");
  }
  if (options.bars == Options::Bars::kPolled &&
      options.kvm == Options::Kvm::kSimulated) {
    return absl::InvalidArgumentError(
        "--bars=polled is for guests of the machine's own KVM, so it does not "
        "go with --kvm=simulated.");
  }
  if (options.devices.empty()) {
    return absl::InvalidArgumentError(
        "No device is given. Write --fixture=nvme.textproto, or another file "
        "of testing/fixtures.");
  }
  return options;
}

std::string Manual() {
  return R"(simulate [OPTION]... -- PROGRAM [ARGUMENT]...

Runs a program, and whatever it starts, on a simulated kernel with captured PCI
devices: /dev/vfio, the PCI and IOMMU parts of /sys, and if wanted /dev/kvm. The
program is not changed. It must be linked dynamically.

Devices
  --fixture=FILE[,address=ADDRESS][,group=NUMBER][,driver=NAME][,disk=DISK]
      A captured device. FILE is a path, or the name of a file in
      testing/fixtures. May be repeated. The address, the IOMMU group and the
      driver are those of the file, if they are not given here. DISK is the
      medium of an NVMe controller: the file of an image, or the number of bytes
      of an empty one.
  --driver=NAME
      The driver of all devices that name none: vfio-pci, which is the default,
      another name, or none.
  --connect=ADDRESS,ADDRESS
      Wire two virtio network devices back to back, so that each receives what
      the other sends. May be repeated.
  --host_devices
      Show the machine's own PCI devices beside the simulated ones. Without it
      programs see only the latter.

Kernel
  --kernel=VERSION
      Whose answers to give: 6.1, 6.12 (the default), 6.18 or 7.2.
  --kvm=none|real|simulated
      What /dev/kvm is. none, the default: it does not exist. real: the
      machine's own. A mapped BAR can be in a guest's memory slot then only with
      --bars=polled (or not at all, as with x-no-mmap=on of QEMU). simulated:
      every call is answered, but KVM_RUN executes nothing.
  --bars=trapped|polled
      How an access to a mapped BAR reaches the device. While the device does
      not decode memory, it raises SIGBUS. trapped, the default: at once, and in
      order. polled: the BAR is memory, at which the device looks every 100
      microseconds and before each call on it. It does not see the order of
      stores, nor a store of the same value.
  --fail=CALL:NUMBER:ERRNO
      Make the call of this name and number fail, such as
      VFIO_DEVICE_SET_IRQS:3:ENOSPC. May be repeated. The names are those of the
      journal.

What you get to see
  --journal=FILE
      Write every call on the simulated kernel to the file, every access to a
      mapped BAR, and every path of /sys that a call names.
  --check=report|fail|off
      Watch what programs do that no VMM should do, such as a memory slot over
      an MSI-X table, an irqfd without a route, or memory unmapped while it is
      mapped for DMA, each with the call that did it. report, the default:
      write it to the standard error at the end. fail: the exit status is 99,
      too. SIGUSR1 makes the launcher write it now.
  --leaks=report|fail|off
      The same for what the last program held when it ended: descriptors,
      mappings, DMA mappings, interrupts, slots. Many programs leave that to the
      kernel.

The exit status is the program's, 128 and a signal's number if that killed it,
or 125 if the launcher itself failed.

Examples
  simulate --fixture=nvme.textproto -- lspci -vvv
  simulate --fixture=nvme.textproto -- qemu-io -c 'read 0 4k' \
      nvme://0000:02:00.0/1
  simulate --fixture=e1000e.textproto,driver=none -- sh
)";
}

}  // namespace passthru::simulate
