// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/doctor_text.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"

namespace passthru::doctor {
namespace {

constexpr size_t kWidth = 100;
// Where the third column, with the text, begins.
constexpr size_t kText = 32;

std::string_view Word(Finding::Verdict verdict) {
  switch (verdict) {
    case Finding::OK:
      return "ok";
    case Finding::NOTE:
      return "note";
    case Finding::UNKNOWN:
      return "unknown";
    case Finding::WARNING:
      return "warning";
    case Finding::PROBLEM:
      return "PROBLEM";
    default:
      return "?";
  }
}

// Appends `text` to `out`, whose last line is `column` wide, and breaks lines
// between words. Further lines are indented by `indent`.
void AppendWrapped(std::string& out, size_t column, size_t indent,
                   std::string_view text) {
  bool first = true;
  for (const std::string_view word : absl::StrSplit(text, ' ')) {
    if (!first && column + 1 + word.size() > kWidth) {
      absl::StrAppend(&out, "\n", std::string(indent, ' '));
      column = indent;
      first = true;
    }
    absl::StrAppend(&out, first ? "" : " ", word);
    column += word.size() + (first ? 0 : 1);
    first = false;
  }
  out.push_back('\n');
}

void AppendFinding(std::string& out, const Finding& finding, bool how) {
  const std::string margin(kText, ' ');
  absl::StrAppend(&out,
                  absl::StrFormat("  %-7s  %-21s", Word(finding.verdict()),
                                  finding.check()));
  // A long name has the line for itself.
  if (finding.check().size() > 20) absl::StrAppend(&out, "\n", margin);
  AppendWrapped(out, kText, kText, finding.what());
  if (how && !finding.known_by().empty()) {
    absl::StrAppend(&out, margin, "(");
    AppendWrapped(out, kText + 1, kText + 1,
                  absl::StrCat(absl::StrJoin(finding.known_by(), "; "), ")"));
  }
  for (const std::string& command : finding.to_do()) {
    absl::StrAppend(&out, "           > ", command, "\n");
  }
}

bool Shown(const Finding& finding, Detail detail) {
  return detail != Detail::kBrief || finding.verdict() == Finding::PROBLEM ||
         finding.verdict() == Finding::WARNING;
}

template <typename List>
void AppendFindings(std::string& out, const List& findings, Detail detail) {
  for (const Finding& finding : findings) {
    if (!Shown(finding, detail)) continue;
    AppendFinding(out, finding,
                  detail == Detail::kAll || finding.verdict() != Finding::OK);
  }
}

template <typename List>
void Add(Finding::Verdict verdict, const List& findings,
         std::vector<std::string>& names) {
  for (const Finding& finding : findings) {
    if (finding.verdict() == verdict) names.push_back(finding.check());
  }
}

}  // namespace

std::string RenderText(const Report& report, Detail detail) {
  std::string out = "The host\n";
  AppendFindings(out, report.host(),
                 detail == Detail::kBrief ? Detail::kNormal : detail);
  std::vector<std::string> staying;
  for (const Device& device : report.devices()) {
    if (device.stays() && detail == Detail::kBrief) {
      staying.push_back(device.address());
      continue;
    }
    absl::StrAppend(&out, "\n", device.address(), "  ", device.identity(),
                    "\n");
    AppendFindings(out, device.findings(), detail);
    std::vector<std::string> problems;
    Add(Finding::PROBLEM, report.host(), problems);
    Add(Finding::PROBLEM, device.findings(), problems);
    std::vector<std::string> unknown;
    Add(Finding::UNKNOWN, device.findings(), unknown);
    if (problems.empty() && unknown.empty()) {
      absl::StrAppend(&out, "  It can be passed through.\n");
    } else if (problems.empty()) {
      constexpr std::string_view kSoFar =
          "  It can be passed through as far as can be seen. Unknown: ";
      absl::StrAppend(&out, kSoFar);
      AppendWrapped(out, kSoFar.size(), 4,
                    absl::StrCat(absl::StrJoin(unknown, ", "), "."));
    } else {
      constexpr std::string_view kBecause =
          "  It cannot be passed through, because of: ";
      absl::StrAppend(&out, kBecause);
      AppendWrapped(out, kBecause.size(), 4,
                    absl::StrCat(absl::StrJoin(problems, ", "), "."));
    }
  }
  if (!staying.empty()) {
    absl::StrAppend(&out, "\n");
    AppendWrapped(out, 0, 0,
                  absl::StrCat("Bridges and parts of the chipset, which stay "
                               "with the host: ",
                               absl::StrJoin(staying, ", ")));
  }
  return out;
}

}  // namespace passthru::doctor
