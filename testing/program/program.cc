// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/program/program.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <utility>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/passthrough/version.h"

namespace passthru::program {

std::vector<char*> Start(int argc, char** argv, std::string_view name,
                         std::string_view usage,
                         absl::LogSeverityAtLeast shown) {
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  config.version_string =
      [version = absl::StrCat(name, " of passthru ", kVersion, "\n")] {
        return version;
      };
  absl::SetFlagsUsageConfig(std::move(config));
  std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  absl::SetStderrThreshold(shown);
  absl::InitializeLog();
  return arguments;
}

int Finish(std::string_view name, const absl::Status& status) {
  if (status.ok()) return 0;
  std::cout.flush();
  std::cerr << name << ": " << status.message() << "\n";
  const bool mistake = status.code() == absl::StatusCode::kInvalidArgument &&
                       kernel::ErrnoOf(status) == 0;
  return mistake ? kMistake : kFailed;
}

int Finish(std::string_view name, const absl::StatusOr<int>& status) {
  return status.ok() ? *status : Finish(name, status.status());
}

std::string UserPath(const std::string& path) {
  const char* const user = std::getenv("BUILD_WORKING_DIRECTORY");
  if (user == nullptr) return path;
  return (std::filesystem::path(user) / path).string();
}

absl::StatusOr<std::string> Json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("cannot convert the report to JSON: ", status.ToString()));
  }
  return json;
}

}  // namespace passthru::program
