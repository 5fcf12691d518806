// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PROGRAM_PROGRAM_H_
#define PASSTHRU_TESTING_PROGRAM_PROGRAM_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace passthru::program {

// Parses the flags of the program `name`, answers --help with `usage` and
// --version with the version, and starts the log. Standard error gets what is
// logged with the severity `shown` and above. Returns the program's name and
// the arguments that are not flags.
std::vector<char*> Start(int argc, char** argv, std::string_view name,
                         std::string_view usage,
                         absl::LogSeverityAtLeast shown);

// The exit statuses of a program that failed. A flag that Abseil cannot parse
// has kFailed too.
inline constexpr int kFailed = 1;
inline constexpr int kMistake = 2;  // The arguments are to blame.

// Returns the exit status that goes with `status`, which is 0 or the value if
// it is OK. Otherwise this tells the user the message in a line that starts
// with `name`. InvalidArgument is the user's mistake unless a kernel call
// failed with it.
int Finish(std::string_view name, const absl::Status& status);
int Finish(std::string_view name, const absl::StatusOr<int>& status);

// Returns the full path of a file that the user named. Relative paths start at
// the directory in which the user typed the command. `bazel run` starts the
// program in another one and has that in BUILD_WORKING_DIRECTORY.
std::string UserPath(const std::string& path);

// Returns `message` as JSON for programs, with all fields and the field names
// of the proto.
absl::StatusOr<std::string> Json(const google::protobuf::Message& message);

// Returns all values that a repeated flag was given, which must not be empty.
// Abseil itself keeps only the last value. The flag is defined with
//
//   ABSL_FLAG(std::string, device, "", "...")
//       .OnUpdate(program::CollectValue<FLAGS_device>);
template <absl::Flag<std::string>& kFlag>
std::vector<std::string>& Values() {
  static auto* const values = new std::vector<std::string>;
  return *values;
}

template <absl::Flag<std::string>& kFlag>
void CollectValue() {
  std::string value = absl::GetFlag(kFlag);
  if (!value.empty()) Values<kFlag>().push_back(std::move(value));
}

}  // namespace passthru::program

#endif  // PASSTHRU_TESTING_PROGRAM_PROGRAM_H_
