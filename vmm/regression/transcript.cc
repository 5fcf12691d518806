// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/transcript.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/vmm/regression/call_lines.h"

namespace passthru::vmm {
namespace {

std::string ExitText(const fake::FakeExitCounts& before,
                     const fake::FakeExitCounts& now) {
  std::vector<std::string> parts;
  for (const auto& [count, what] :
       {std::pair(now.mmio_reads - before.mmio_reads, "MMIO reads"),
        std::pair(now.mmio_writes - before.mmio_writes, "MMIO writes"),
        std::pair(now.io_reads - before.io_reads, "port reads"),
        std::pair(now.io_writes - before.io_writes, "port writes"),
        std::pair(now.faults - before.faults, "memory faults")}) {
    if (count != 0) parts.push_back(absl::StrCat(count, " ", what));
  }
  return parts.empty() ? "no exits" : absl::StrJoin(parts, ", ");
}

}  // namespace

void Transcript::Headline(std::string_view text) {
  absl::StrAppend(&text_, text, "\n");
}

void Transcript::Begin(std::string_view title) {
  EndMeasurement();
  absl::StrAppend(&text_, "\n", title, "\n");
  measuring_ = true;
  kernel_->journal().Clear();
  exits_before_ = kernel_->kvm().ExitCounts();
}

void Transcript::Line(std::string_view line) {
  absl::StrAppend(&text_, "  ", line, "\n");
}

void Transcript::Problem(std::string_view what) {
  Line(absl::StrCat("PROBLEM: ", what));
  problems_.emplace_back(what);
}

void Transcript::EndMeasurement() {
  if (!measuring_) return;
  measuring_ = false;
  const std::vector<std::string> calls =
      CallLines(kernel_->journal().Entries());
  Line(absl::StrCat(
      "cost: ", ExitText(exits_before_, kernel_->kvm().ExitCounts()),
      calls.empty() ? ", no kernel calls" : ", kernel calls:"));
  for (const std::string& call : calls) Line(absl::StrCat("  ", call));
}

std::string Transcript::Finish() {
  EndMeasurement();
  return std::move(text_);
}

}  // namespace passthru::vmm
