// SPDX-License-Identifier: Apache-2.0
//
// The program "control SOCKET [COMMAND]..." sends a command to a
// passthrough_vm that runs with --control=SOCKET, and prints the answer.

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/passthrough/version.h"
#include "passthru/vmm/control/control_client.h"

ABSL_FLAG(std::string, output, "text",
          "How the state of the VM is printed: text or json.");

namespace {

// The exit statuses.
constexpr int kRefused = 1;
constexpr int kMistake = 2;

// Returns the path that the user typed. `bazel run` starts the program in
// another directory.
std::string UserPath(const std::string& path) {
  const char* const user = std::getenv("BUILD_WORKING_DIRECTORY");
  if (user == nullptr) return path;
  return (std::filesystem::path(user) / path).string();
}

int Fail(int status, const std::string& why) {
  std::cerr << "control: " << why << "\n";
  return status;
}

int Run(const std::vector<char*>& arguments) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "json") {
    return Fail(kMistake, absl::StrCat("--output=", output,
                                       " is neither text nor json."));
  }
  if (arguments.size() < 2) {
    return Fail(kMistake,
                "give the socket of a passthrough_vm (its --control=PATH), and "
                "perhaps a command such as help.");
  }
  std::string command = "inspect";
  if (arguments.size() > 2) {
    command = arguments[2];
    for (size_t i = 3; i < arguments.size(); ++i) {
      absl::StrAppend(&command, " ", arguments[i]);
    }
  }
  if (output == "json") {
    if (command != "inspect") {
      return Fail(kMistake, absl::StrCat("only inspect answers in JSON, and '",
                                         command, "' does not."));
    }
    command += " json";
  }
  const absl::StatusOr<std::string> answer =
      passthru::vmm::SendCommand(UserPath(arguments[1]), command);
  if (answer.ok()) {
    std::cout << *answer << std::flush;
    return std::cout.good() ? 0 : kRefused;
  }
  return Fail(absl::IsInvalidArgument(answer.status()) ? kMistake : kRefused,
              std::string(answer.status().message()));
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Sends a command to a passthrough_vm that runs with --control=SOCKET, "
      "and prints the answer. Without a command it prints the state of the "
      "VM.\n"
      "  control SOCKET\n"
      "  control --output=json SOCKET\n"
      "  control SOCKET unplug 0000:01:00.0\n"
      "  control SOCKET help\n"
      "The exit status is 0 if the VM did what it was told, 1 if it did not "
      "or is not there, or for a flag that cannot be parsed, and 2 for another "
      "mistake in the arguments.\n");
  absl::FlagsUsageConfig usage;
  usage.version_string = [] {
    return absl::StrCat("control of passthru ", passthru::kVersion, "\n");
  };
  absl::SetFlagsUsageConfig(std::move(usage));
  return Run(absl::ParseCommandLine(argc, argv));
}
