// SPDX-License-Identifier: Apache-2.0
//
// The program "control SOCKET [COMMAND]..." sends a command to a
// passthrough_vm that runs with --control=SOCKET, and prints the answer.

#include <iostream>
#include <string>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/control/control_client.h"

ABSL_FLAG(std::string, output, "text",
          "How the state of the VM is printed: text or json.");

namespace {

constexpr char kName[] = "control";

absl::Status Main(const std::vector<char*>& arguments) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("--output=", output, " is neither text nor json."));
  }
  if (arguments.size() < 2) {
    return absl::InvalidArgumentError(
        "give the socket of a passthrough_vm (its --control=PATH), and perhaps "
        "a command such as help.");
  }
  std::string command = "inspect";
  if (arguments.size() > 2) {
    command = absl::StrJoin(arguments.begin() + 2, arguments.end(), " ");
  }
  if (output == "json") {
    if (command != "inspect") {
      return absl::InvalidArgumentError(absl::StrCat(
          "only inspect answers in JSON, and '", command, "' does not."));
    }
    command += " json";
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      const std::string answer,
      passthru::vmm::SendCommand(passthru::program::UserPath(arguments[1]),
                                 command));
  std::cout << answer << std::flush;
  if (!std::cout) return absl::UnavailableError("the answer cannot be written");
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = passthru::program::Start(
      argc, argv, kName,
      "Sends a command to a passthrough_vm that runs with --control=SOCKET, "
      "and prints the answer. Without a command it prints the state of the "
      "VM.\n"
      "  control SOCKET\n"
      "  control --output=json SOCKET\n"
      "  control SOCKET unplug 0000:01:00.0\n"
      "  control SOCKET help\n"
      "The exit status is 0 if the VM did what it was told, 1 if it did not "
      "or is not there, or for a flag that cannot be parsed, and 2 for another "
      "mistake in the arguments.\n",
      absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(kName, Main(arguments));
}
