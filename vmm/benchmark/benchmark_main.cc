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
#include "passthru/testing/program/program.h"
#include "passthru/vmm/benchmark/interrupt_table.h"
#include "passthru/vmm/benchmark/sections.h"

ABSL_FLAG(std::string, only, "",
          "The section to run: interrupts, accesses, devices, simulation or "
          "kvm. By default all run.");

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

absl::Status Main(std::string_view only) {
#ifndef __OPTIMIZE__
  std::cout << "This was compiled without -c opt, so the times say nothing.\n";
#endif
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

}  // namespace
}  // namespace passthru::benchmark

int main(int argc, char** argv) {
  constexpr char kName[] = "benchmark";
  passthru::program::Start(argc, argv, kName,
                           "Prints what the library costs.\n"
                           "  bazel run -c opt //vmm/benchmark",
                           absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(
      kName, passthru::benchmark::Main(absl::GetFlag(FLAGS_only)));
}
