// SPDX-License-Identifier: Apache-2.0
//
// The program "contract_report FOLDER [--save] <ANSWERS" compares a kernel's
// answers, as testing/lab/contract.cc prints them, with those of its version in
// FOLDER. It prints by section how many agree, and all differences. It fails if
// there is a difference that is not listed as known. With --save the answers
// become the expected ones.

#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/contract/answers.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::contract {
namespace {

// Returns the measured kernel to which a release belongs, for example
// "6.12.95+deb12-cloud-amd64".
std::optional<fake::KernelVersion> VersionOf(std::string_view release) {
  for (const fake::KernelVersion version : fake::kAllKernelVersions) {
    if (absl::StartsWith(release, absl::StrCat(Name(version), "."))) {
      return version;
    }
  }
  return std::nullopt;
}

absl::Status Run(std::string_view folder, bool save) {
  std::map<std::string, std::vector<Observation>> answers;
  std::string release;
  std::string subject;
  for (std::string line; std::getline(std::cin, line);) {
    std::string_view rest = line;
    if (absl::ConsumePrefix(&rest, "KERNEL ")) {
      release = rest;
    } else if (absl::ConsumePrefix(&rest, "SUBJECT ")) {
      subject = rest;
    } else if (line.empty()) {
      continue;  // An empty line of the console.
    } else if (auto one = Observation::Parse(line); one.has_value()) {
      answers[subject].push_back(*std::move(one));
    } else {
      return absl::InvalidArgumentError(line);
    }
  }
  const auto version = VersionOf(release);
  if (!version.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("kernel '", release, "' was never asked"));
  }
  Agreement agreement;
  std::vector<Observation> all;
  for (const auto& [name, observed] : answers) {
    if (save) {
      PASSTHRU_RETURN_IF_ERROR(SaveAnswers(folder, name, *version, observed));
    }
    PASSTHRU_ASSIGN_OR_RETURN(const auto expected,
                              LoadAnswers(folder, name, *version));
    agreement.Compare(name, observed, expected);
    all.insert(all.end(), observed.begin(), observed.end());
  }
  std::cout << "Linux " << release << "\n" << agreement.Report();
  const std::vector<std::string> thin = ThinSections(all);
  for (const std::string& section : thin) {
    std::cout << "  TOO FEW: " << section << "\n";
  }
  return agreement.differences().empty() && thin.empty()
             ? absl::OkStatus()
             : absl::InternalError("not as expected");
}

}  // namespace
}  // namespace passthru::contract

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: contract_report FOLDER [--save] <ANSWERS\n";
    return 2;
  }
  const absl::Status status = passthru::contract::Run(
      argv[1], argc > 2 && std::string_view(argv[2]) == "--save");
  if (status.ok()) return 0;
  std::cerr << "contract_report: " << status.message() << "\n";
  return 1;
}
