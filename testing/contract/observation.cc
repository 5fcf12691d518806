// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/observation.h"

#include "absl/strings/str_cat.h"

namespace passthru::contract {
namespace {

constexpr std::string_view kAfterSection = ": ";
constexpr std::string_view kBeforeAnswer = " -> ";

}  // namespace

std::string Observation::ToString() const {
  return absl::StrCat(section, kAfterSection, question, kBeforeAnswer, answer);
}

std::optional<Observation> Observation::Parse(std::string_view line) {
  const size_t section = line.find(kAfterSection);
  const size_t answer = line.rfind(kBeforeAnswer);
  if (section == std::string_view::npos || answer == std::string_view::npos ||
      section + kAfterSection.size() > answer) {
    return std::nullopt;
  }
  const size_t question = section + kAfterSection.size();
  return Observation{
      .section = std::string(line.substr(0, section)),
      .question = std::string(line.substr(question, answer - question)),
      .answer = std::string(line.substr(answer + kBeforeAnswer.size()))};
}

void ObservationList::Add(std::string question, std::string answer) {
  const int times = ++asked_[{section_, question}];
  if (times > 1) absl::StrAppend(&question, " (", times, ")");
  observations_.push_back({.section = section_,
                           .question = std::move(question),
                           .answer = std::move(answer)});
}

void ObservationList::Detail(std::string_view text) {
  absl::StrAppend(&observations_.back().answer, " ", text);
}

}  // namespace passthru::contract
