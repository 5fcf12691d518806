// SPDX-License-Identifier: Apache-2.0
//
// passthrough_regression passes a captured device through on the simulated
// kernel and prints the transcript. regression.sh and regression_table.sh make
// tests of it, whose rules are in //testing:passthrough.bzl.

#include <sys/resource.h>

#include <fstream>
#include <iostream>
#include <string>
#include <string_view>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/regression/regression.h"
#include "passthru/vmm/report/html_page.h"
#include "passthru/vmm/report/timeline.h"
#include "passthru/vmm/report/trace_events.h"

ABSL_FLAG(std::string, fixture, "",
          "The captured device: a textproto of testing/fixture/device.proto.");
ABSL_FLAG(std::string, facts, "",
          "A file to which the device's facts are written, as one line.");
ABSL_FLAG(std::string, output, "text",
          "What is printed: text for the transcript, html for a page with "
          "pictures and a timeline, or trace for the timeline alone, which "
          "trace viewers such as Perfetto open.");
ABSL_FLAG(std::string, kernel, "6.12",
          "Which kernel the simulated one answers as: 6.1, 6.12, 6.18 or 7.2.");

namespace passthru::vmm {
namespace {

// The exit status if there are problems in what is printed, which regression.sh
// and regression_table.sh know.
constexpr int kProblems = 3;

constexpr char kName[] = "passthrough_regression";

// Sets the number of descriptors that the process may have. The simulated
// kernel's are real ones, and a device with many vectors needs many.
void LimitDescriptors() {
  constexpr rlim_t kDescriptors = 4096;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < kDescriptors) {
    return;
  }
  limit.rlim_cur = kDescriptors;
  setrlimit(RLIMIT_NOFILE, &limit);
}

absl::Status Print(const RegressionResult& result, const TimelineData& timeline,
                   std::string_view output) {
  if (output == "html") {
    PASSTHRU_ASSIGN_OR_RETURN(const std::string json,
                              program::Json(result.report));
    std::cout << HtmlPage(json, timeline);
  } else if (output == "trace") {
    std::cout << TraceEventsJson(timeline);
  } else {
    std::cout << result.transcript;
  }
  std::cout.flush();
  return absl::OkStatus();
}

absl::StatusOr<int> Main() {
  RegressionOptions options;
  options.fixture = absl::GetFlag(FLAGS_fixture);
  const auto kernel = fake::KernelVersionNamed(absl::GetFlag(FLAGS_kernel));
  if (!kernel.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--kernel=", absl::GetFlag(FLAGS_kernel),
        " is none that was measured; there are 6.1, 6.12, 6.18 and 7.2."));
  }
  options.kernel = *kernel;
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "html" && output != "trace") {
    return absl::InvalidArgumentError(
        absl::StrCat("--output=", output, " is none of text, html and trace."));
  }
  Timeline timeline;
  if (output != "text") options.timeline = &timeline;
  LimitDescriptors();
  PASSTHRU_ASSIGN_OR_RETURN(const RegressionResult result,
                            RunRegression(options));
  PASSTHRU_RETURN_IF_ERROR(Print(result, timeline.Data(), output));
  if (const std::string path = absl::GetFlag(FLAGS_facts); !path.empty()) {
    std::ofstream facts(path);
    facts << result.facts.ToString() << "\n";
    facts.close();
    if (!facts.good()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--facts=", path, " cannot be written."));
    }
  }
  for (const std::string& problem : result.problems) {
    std::cerr << kName << ": " << problem << "\n";
  }
  return result.problems.empty() ? 0 : kProblems;
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  using passthru::vmm::kName;
  passthru::program::Start(
      argc, argv, kName,
      "Passes a captured device through on the simulated kernel and prints "
      "what happened.\n  passthrough_regression --fixture=FILE [--kernel=6.1]",
      absl::LogSeverityAtLeast::kError);
  return passthru::program::Finish(kName, passthru::vmm::Main());
}
