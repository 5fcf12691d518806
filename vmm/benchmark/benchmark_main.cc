// SPDX-License-Identifier: Apache-2.0
//
// Prints what the library costs, as counts, and as times beside other times of
// the same run.

#include <array>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/benchmark/device_register.h"
#include "passthru/vmm/benchmark/interrupt_table.h"
#include "passthru/vmm/benchmark/sections.h"

ABSL_FLAG(std::string, only, "",
          "The section to run: interrupts, accesses, devices, simulation or "
          "kvm. By default all run.");
ABSL_FLAG(std::string, device, "",
          "The address of a device that is bound to vfio-pci, such as "
          "0000:01:00.0. With it, only accesses to a register of this device "
          "are timed. The register, of 4 bytes, is read often, and written as "
          "often with what it held, so it must be one that neither hurts.");
ABSL_FLAG(uint64_t, bar, 0, "The BAR of --device that has the register.");
ABSL_FLAG(uint64_t, offset, 0,
          "The register's offset in the BAR, such as 0x10.");

namespace passthru::benchmark {
namespace {

// Counts the calls of an MSI-X bring-up, beside what other VMMs need.
void PrintInterruptCosts() {
  for (const uint16_t vectors : {8, 64, 2048}) {
    std::cout << "\n" << InterruptTable(vectors) << std::flush;
  }
}

struct Section {
  std::string_view name;
  void (*print)();
};

constexpr std::array kSections = {
    Section{"interrupts", PrintInterruptCosts},
    Section{"accesses", PrintAccesses},
    Section{"devices", PrintDeviceCosts},
    Section{"simulation", PrintSimulatedCalls},
    Section{"kvm", PrintRealKvm},
};

absl::Status PrintSections(std::string_view only) {
  bool found = false;
  for (const Section& section : kSections) {
    if (!only.empty() && only != section.name) continue;
    found = true;
    section.print();
  }
  if (found) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("there is no section '", only, "'. --help lists them."));
}

absl::Status Main(std::string_view only, const DeviceRegister& where) {
  if (where.device.empty() && (where.bar != 0 || where.offset != 0)) {
    return absl::InvalidArgumentError(
        "--bar and --offset name a register of --device, which is missing.");
  }
  if (!where.device.empty() && !only.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--device=", where.device, " and --only=", only,
        " exclude each other, because --device is a section of its own."));
  }
  PASSTHRU_RETURN_IF_ERROR(where.device.empty() ? PrintSections(only)
                                                : PrintDeviceAccesses(where));
#ifndef __OPTIMIZE__
  std::cout
      << "\nThis was compiled without -c opt, so the times say nothing.\n";
#endif
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::benchmark

int main(int argc, char** argv) {
  constexpr char kName[] = "benchmark";
  passthru::program::Start(argc, argv, kName,
                           "Prints what the library costs.\n"
                           "  bazel run -c opt //vmm/benchmark",
                           absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(
      kName,
      passthru::benchmark::Main(absl::GetFlag(FLAGS_only),
                                {.device = absl::GetFlag(FLAGS_device),
                                 .bar = absl::GetFlag(FLAGS_bar),
                                 .offset = absl::GetFlag(FLAGS_offset)}));
}
