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
#include "passthru/vmm/plural.h"
#include "passthru/vmm/regression/call_lines.h"

namespace passthru::vmm {
namespace {

struct ExitCount {
  uint64_t count = 0;
  std::string_view what;
};

// Returns how often each kind of access left the guest between the two.
std::vector<ExitCount> ExitsBetween(const fake::FakeExitCounts& before,
                                    const fake::FakeExitCounts& now) {
  return {{now.mmio_reads - before.mmio_reads, "MMIO read"},
          {now.mmio_writes - before.mmio_writes, "MMIO write"},
          {now.io_reads - before.io_reads, "port read"},
          {now.io_writes - before.io_writes, "port write"},
          {now.faults - before.faults, "memory fault"}};
}

std::string ExitText(const std::vector<ExitCount>& exits) {
  std::vector<std::string> parts;
  for (const ExitCount& exit : exits) {
    if (exit.count != 0) parts.push_back(Count(exit.count, exit.what));
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
  if (listener_ != nullptr) listener_(title);
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
  const auto entries = kernel_->journal().Entries();
  const std::vector<ExitCount> exits =
      ExitsBetween(exits_before_, kernel_->kvm().ExitCounts());
  for (const ExitCount& exit : exits) exits_ += exit.count;
  kernel_calls_ += CallCount(entries);
  const std::vector<std::string> calls = CallLines(entries);
  Line(absl::StrCat("cost: ", ExitText(exits),
                    calls.empty() ? ", no kernel calls" : ", kernel calls:"));
  for (const std::string& call : calls) Line(absl::StrCat("  ", call));
}

std::string Transcript::Finish() {
  EndMeasurement();
  return std::move(text_);
}

}  // namespace passthru::vmm
