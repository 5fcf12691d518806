// SPDX-License-Identifier: Apache-2.0
//
// The program "random_calls [--seed=N] [--calls=N] [--length=N] BDF..." draws
// calls of VFIO at random and puts them to the kernel on which it runs and to
// the simulated kernel of the same version, which has a capture of the same
// device. It compares the answers one by one, and prints the shortest sequences
// that differ.
//
// The devices are bound to vfio-pci. The program writes to all of their
// configuration registers, so it is for emulated devices.

#include <cpuid.h>
#include <fcntl.h>
#include <sys/utsname.h>

#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/random_calls/call_runner.h"
#include "passthru/testing/random_calls/comparison.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {
namespace {

// How many different sequences are shrunk and shown for a device.
constexpr int kShown = 15;

struct Options {
  uint64_t seed = 1;
  uint64_t calls = 1000;  // For each device.
  uint64_t length = 60;   // Of a sequence.
};

absl::StatusOr<fake::KernelVersion> RunningVersion() {
  utsname system = {};
  uname(&system);
  for (const fake::KernelVersion version : fake::kAllKernelVersions) {
    if (absl::StartsWith(system.release, absl::StrCat(Name(version), "."))) {
      return version;
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("there is no simulation of Linux ", system.release));
}

unsigned PhysicalAddressBits() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx);
  return eax & 0xff;
}

// Returns how many sequences differ.
absl::StatusOr<int> CompareDevice(const std::string& address,
                                  const Options& options) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto version, RunningVersion());
  PASSTHRU_ASSIGN_OR_RETURN(const auto bdf, pci::Bdf::Parse(address));
  kernel::LinuxSyscalls kernel;
  PASSTHRU_ASSIGN_OR_RETURN(const auto group, vfio::FindGroup(&kernel, bdf));
  capture::CaptureOptions what;
  what.write_masks = capture::MaskMeasurement::kAll;
  what.try_hot_reset = true;
  what.include_identity = true;
  auto captured = capture::CaptureDevice(&kernel, bdf, what);
  if (!captured.ok()) return captured.status();

  const auto kvm = kernel.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm.ok()) kernel.Close(kvm.value);
  fake::SimulatedHost host(
      {.kernel = {.version = version,
                  .has_kvm = kvm.ok(),
                  .journal = false,
                  .kvm = {.physical_address_bits = PhysicalAddressBits()}},
       .enforce_invariants = false});
  // The calls break the rules on purpose.
  host.kernel().SetObserver(nullptr);
  PASSTHRU_RETURN_IF_ERROR(
      host.vfio().AddDevice(captured->device, {.bdf = bdf, .group = group}));
  CallRunner real(&kernel, address, group);
  CallRunner simulated(&host.kernel(), address, group);
  PASSTHRU_ASSIGN_OR_RETURN(const auto shape, real.AskShape());
  PASSTHRU_ASSIGN_OR_RETURN(const auto same, simulated.AskShape());
  if (!(same == shape)) {
    return absl::InternalError(
        absl::StrCat(address, ": its capture has other regions or interrupts"));
  }
  Comparison comparison(&real, &simulated, shape);
  int differ = 0;
  uint64_t made = 0;
  for (uint64_t seed = options.seed; made < options.calls; ++seed) {
    PASSTHRU_ASSIGN_OR_RETURN(
        auto difference, comparison.Compare(Draw(shape, seed, options.length)));
    made += options.length;
    if (!difference.has_value()) continue;
    if (++differ > kShown) continue;
    auto shrunk = comparison.Shrink(*difference);
    if (!shrunk.ok()) return shrunk.status();
    std::cout << address << ", seed " << seed << ", differs:\n"
              << shrunk->ToString();
  }
  std::cout << address << ": " << made << " calls from seed " << options.seed
            << ", " << differ << " sequences differ" << std::endl;
  return differ;
}

absl::Status Run(const std::vector<std::string_view>& arguments) {
  Options options;
  int differ = 0;
  int devices = 0;
  for (std::string_view argument : arguments) {
    uint64_t* option = nullptr;
    std::string_view value = argument;
    if (absl::ConsumePrefix(&value, "--seed=")) {
      option = &options.seed;
    } else if (absl::ConsumePrefix(&value, "--calls=")) {
      option = &options.calls;
    } else if (absl::ConsumePrefix(&value, "--length=")) {
      option = &options.length;
    }
    if (option != nullptr) {
      if (!absl::SimpleAtoi(value, option) || *option == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat(argument, " is not a number above 0"));
      }
      continue;
    }
    PASSTHRU_ASSIGN_OR_RETURN(const int more,
                              CompareDevice(std::string(argument), options));
    differ += more;
    ++devices;
    // So that the next one gets other calls of KVM.
    options.seed += options.calls / options.length + 1;
  }
  if (devices == 0) {
    return absl::InvalidArgumentError(
        "name at least one device, such as 0000:01:00.0");
  }
  if (differ == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(differ, " sequences differ from the simulation"));
}

}  // namespace
}  // namespace passthru::random_calls

int main(int argc, char** argv) {
  absl::InitializeLog();
  absl::SetStderrThreshold(absl::LogSeverityAtLeast::kError);
  const absl::Status status = passthru::random_calls::Run(
      std::vector<std::string_view>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "random_calls: " << status.message() << "\n";
  return 1;
}
