// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "passthru/testing/contract/answers.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {

// guest_answers_text.cc defines this. The BUILD file makes it of
// answers/guest.txt, because the lab's program has no files.
extern const char kGuestAnswersText[];

std::vector<Observation> GuestAnswers() {
  auto answers = ParseAnswers(kGuestAnswersText, "answers/guest.txt");
  CHECK_OK(answers.status());
  return *std::move(answers);
}

std::vector<std::string> DifferencesFromGuestAnswers(
    const std::vector<Observation>& observations) {
  const std::vector<Observation> expected = GuestAnswers();
  const auto line = [](const std::vector<Observation>& all, size_t i) {
    return i < all.size() ? all[i].ToString() : "nothing more";
  };
  std::vector<std::string> differences;
  for (size_t i = 0; i < std::max(observations.size(), expected.size()); ++i) {
    const std::string observed = line(observations, i);
    const std::string wanted = line(expected, i);
    if (observed == wanted) continue;
    differences.push_back(absl::StrCat(observed, "\n    expected: ", wanted));
  }
  return differences;
}

}  // namespace passthru::contract
