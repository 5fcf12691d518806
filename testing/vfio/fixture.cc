// SPDX-License-Identifier: Apache-2.0
#include "testing/vfio/fixture.h"

#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "testing/vfio/fixture_checks.h"

namespace passthru::fake {
namespace {

class ErrorList : public google::protobuf::io::ErrorCollector {
 public:
  explicit ErrorList(std::string_view file) : file_(file) {}

  // Protobuf counts lines and columns from 0, editors from 1; -1 is "none".
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    errors_.push_back(line < 0 ? absl::StrCat(file_, ": ", message)
                               : absl::StrCat(file_, ":", line + 1, ":",
                                              column + 1, ": ", message));
  }
  void AddWarning(int, google::protobuf::io::ColumnNumber,
                  const std::string&) override {}

  std::string ToString() const { return absl::StrJoin(errors_, "\n"); }

 private:
  const std::string file_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<PciDevice> LoadFixture(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return absl::NotFoundError(
        absl::StrCat(path,
                     ": cannot be opened; give the path of a device "
                     "fixture (*.textproto)"));
  }
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream || stream.bad()) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot be read"));
  }
  return ParseFixture(text.str(), path);
}

absl::StatusOr<PciDevice> ParseFixture(std::string_view text,
                                       std::string_view file) {
  PciDevice device;
  ErrorList errors(file);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  if (!parser.ParseFromString(std::string(text), &device)) {
    return absl::InvalidArgumentError(errors.ToString());
  }
  if (absl::Status status = Validate(device, file); !status.ok()) {
    return status;
  }
  return device;
}

absl::Status Validate(const PciDevice& device, std::string_view file) {
  FixtureProblems problems(file);
  const bool readable = CheckConfig(device, problems);
  // The rest compares with the configuration space; without one it would only
  // repeat the same problem in other words.
  if (readable) {
    const ConfigImage config = ExpandConfig(device);
    CheckIdentity(device, config, problems);
    CheckRegions(device, config, problems);
    CheckInterrupts(device, config, problems);
    CheckReset(device, config, problems);
    CheckRedactions(device, config, problems);
  }
  return problems.ToStatus();
}

}  // namespace passthru::fake
