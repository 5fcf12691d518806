// SPDX-License-Identifier: Apache-2.0
//
// passthrough_demo passes PCI devices through to a guest and shows what
// happens. By default the device is a captured NVMe controller on a simulated
// kernel.

#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/demo/demo.h"
#include "passthru/vmm/demo/demo_text.h"
#include "passthru/vmm/report/html_page.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"
#include "passthru/vmm/report/trace_events.h"

ABSL_FLAG(std::string, device, "",
          "The address, as in 0000:01:00.0, of a host device that is bound to "
          "vfio-pci. The demo then uses this machine's /dev/vfio and "
          "/dev/kvm. Give the flag again for another device of the same "
          "guest.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_device>);
ABSL_FLAG(std::string, fixture, "",
          "The file of a captured device to simulate, which is a textproto of "
          "testing/fixture/device.proto. The default is an NVMe controller. "
          "Give the flag again for another device of the same guest.")
    .OnUpdate(passthru::program::CollectValue<FLAGS_fixture>);
ABSL_FLAG(bool, one_group, false,
          "Puts the simulated devices into one IOMMU group. Otherwise each has "
          "a group of its own.");
ABSL_FLAG(std::string, journal, "",
          "A file to which the demo writes every kernel call as it returns, "
          "with descriptors and addresses renamed. Attach it to a report of a "
          "defect.");
ABSL_FLAG(std::string, kernel, "6.12",
          "The version of the simulated kernel: 6.1, 6.12, 6.18 or 7.2.");
ABSL_FLAG(
    std::string, output, "text",
    "The format of the report: text, json for programs, html for a page "
    "with pictures and a timeline, or trace for the timeline alone, which "
    "trace viewers such as Perfetto open.");
ABSL_FLAG(bool, allow_writes, false,
          "Lets the guest write to the medium of a real device. This DESTROYS "
          "what is on a disk. Without the flag the guest only reads.");

namespace passthru::vmm {
namespace {

// All values of the repeated flags.
const std::vector<std::string>& Devices() {
  return program::Values<FLAGS_device>();
}
const std::vector<std::string>& Fixtures() {
  return program::Values<FLAGS_fixture>();
}

constexpr char kDefaultFixture[] = "testing/fixtures/nvme.textproto";

// Returns the path of the default fixture, which is relative to the working
// directory or among the program's runfiles.
std::string DefaultFixture(const char* program) {
  std::error_code ignored;
  if (std::filesystem::exists(kDefaultFixture, ignored)) return kDefaultFixture;
  const std::filesystem::path runfiles = absl::StrCat(program, ".runfiles");
  for (const auto& entry :
       std::filesystem::directory_iterator(runfiles, ignored)) {
    const std::filesystem::path path = entry.path() / kDefaultFixture;
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return kDefaultFixture;
}

absl::StatusOr<DemoOptions> OptionsFromFlags(const char* program) {
  DemoOptions options;
  options.may_write = absl::GetFlag(FLAGS_allow_writes);
  if (!Devices().empty()) {
    if (!Fixtures().empty()) {
      return absl::InvalidArgumentError(
          "--device names real devices and --fixture simulated ones. Give only "
          "one of the two flags.");
    }
    for (const std::string& device : Devices()) {
      PASSTHRU_ASSIGN_OR_RETURN(const auto bdf, vfio::ParseHostDevice(device));
      options.devices.push_back(bdf);
    }
    return options;
  }
  if (options.may_write) {
    return absl::InvalidArgumentError(
        "--allow_writes needs --device. The guest always writes to a simulated "
        "disk.");
  }
  for (const std::string& fixture : Fixtures()) {
    options.fixtures.push_back(program::UserPath(fixture));
  }
  if (options.fixtures.empty()) {
    options.fixtures.push_back(DefaultFixture(program));
  }
  options.one_group = absl::GetFlag(FLAGS_one_group);
  const std::string wanted = absl::GetFlag(FLAGS_kernel);
  const auto kernel = fake::KernelVersionNamed(wanted);
  if (!kernel.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kernel=", wanted,
                     " is not a kernel that the demo can simulate. Give 6.1, "
                     "6.12, 6.18 or 7.2."));
  }
  options.kernel = *kernel;
  return options;
}

// Whether the report in this format has a timeline.
bool HasTimeline(std::string_view output) {
  return output == "html" || output == "trace";
}

absl::Status Print(const RunReport& report, const TimelineData& timeline,
                   std::string_view output) {
  if (output == "text") {
    std::cout << RenderText(report);
    return absl::OkStatus();
  }
  if (output == "trace") {
    std::cout << TraceEventsJson(timeline);
    return absl::OkStatus();
  }
  PASSTHRU_ASSIGN_OR_RETURN(const std::string json, program::Json(report));
  std::cout << (output == "html" ? HtmlPage(json, timeline) : json);
  return absl::OkStatus();
}

absl::Status Main(const char* program, const std::vector<char*>& arguments) {
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", arguments[1], "' is not a flag. --help lists the flags."));
  }
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "json" && !HasTimeline(output)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--output=", output, " is none of text, json, html and trace."));
  }
  PASSTHRU_ASSIGN_OR_RETURN(auto options, OptionsFromFlags(program));
  std::ofstream journal;
  if (const std::string path = absl::GetFlag(FLAGS_journal); !path.empty()) {
    journal.open(program::UserPath(path));
    if (!journal.is_open()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--journal=", path, " cannot be written."));
    }
    options.journal = &journal;
  }
  Timeline timeline;
  if (HasTimeline(output)) options.timeline = &timeline;
  PASSTHRU_ASSIGN_OR_RETURN(const auto report, RunDemo(options));
  PASSTHRU_RETURN_IF_ERROR(Print(report, timeline.Data(), output));
  if (!report.teardown().leftovers().empty()) {
    return absl::InternalError(
        "the run left the kernel resources behind that the report lists.");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  constexpr char kName[] = "passthrough_demo";
  const auto arguments = passthru::program::Start(
      argc, argv, kName,
      "Passes a PCI device through to a guest, lets the guest use it, and "
      "shows what happened.\n"
      "  passthrough_demo                          a captured NVMe controller\n"
      "  passthrough_demo --fixture=FILE           another captured device\n"
      "  passthrough_demo --device=0000:01:00.0    a real one\n"
      "Give either flag several times for several devices of one guest.",
      absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(kName,
                                   passthru::vmm::Main(argv[0], arguments));
}
