// SPDX-License-Identifier: Apache-2.0
//
// doctor looks at this machine and says, device by device, whether it can be
// passed through to a guest and, if not, what to do.

#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/doctor/doctor.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/doctor_text.h"
#include "passthru/vmm/doctor/parse_size.h"

ABSL_FLAG(std::string, memory, "4G",
          "The memory of the guest, with a unit, as in 8G. VFIO locks it.");
ABSL_FLAG(std::string, output, "text",
          "The format of the report: text, or json for programs.");
ABSL_FLAG(bool, all, false,
          "Says of everything how it is known, also of what is well.");

namespace passthru::doctor {
namespace {

// The program's exit status.
constexpr int kReady = 0;
constexpr int kNotReady = 1;

absl::Status Print(const Report& report, bool named) {
  if (absl::GetFlag(FLAGS_output) == "text") {
    Detail detail = named ? Detail::kNormal : Detail::kBrief;
    if (absl::GetFlag(FLAGS_all)) detail = Detail::kAll;
    std::cout << RenderText(report, detail);
    return absl::OkStatus();
  }
  PASSTHRU_ASSIGN_OR_RETURN(const std::string json, program::Json(report));
  std::cout << json;
  return absl::OkStatus();
}

// Returns the exit status. With named devices all of them must be ready, and
// without at least one.
absl::StatusOr<int> Main(const std::vector<char*>& arguments) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("--output=", output, " is neither text nor json."));
  }
  kernel::LinuxSyscalls syscalls;
  Options options = {.syscalls = &syscalls};
  PASSTHRU_ASSIGN_OR_RETURN(options.guest_memory,
                            ParseSize(absl::GetFlag(FLAGS_memory)));
  for (size_t i = 1; i < arguments.size(); ++i) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto device,
                              vfio::ParseHostDevice(arguments[i]));
    options.devices.push_back(device);
  }
  const bool named = !options.devices.empty();
  const Report report = Examine(options);
  PASSTHRU_RETURN_IF_ERROR(Print(report, named));
  int ready = 0;
  for (const Device& device : report.devices()) ready += device.ready() ? 1 : 0;
  const bool good = named ? ready == report.devices_size() : ready > 0;
  return good ? kReady : kNotReady;
}

}  // namespace
}  // namespace passthru::doctor

int main(int argc, char** argv) {
  constexpr char kName[] = "doctor";
  const auto arguments = passthru::program::Start(
      argc, argv, kName,
      "Says whether the PCI devices of this machine can be passed through to "
      "a guest and, if not, what to do.\n"
      "  doctor                            all devices\n"
      "  doctor 0000:01:00.0 --memory=8G   one device, for a guest of 8 GiB\n"
      "The exit status is 0 if each named device (or, without names, any) can "
      "be passed through now, and 1 if not.",
      absl::LogSeverityAtLeast::kError);
  return passthru::program::Finish(kName, passthru::doctor::Main(arguments));
}
