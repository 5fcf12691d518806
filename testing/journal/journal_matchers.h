// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_JOURNAL_MATCHERS_H_
#define PASSTHRU_TESTING_JOURNAL_JOURNAL_MATCHERS_H_

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "passthru/testing/journal/journal.h"

// Matchers for JournalEntry, which tests can combine:
//   EXPECT_THAT(kernel.journal().EntriesNamed({"KVM_SET_GSI_ROUTING",
//                                              "KVM_IRQFD"}),
//               ElementsAre(IsCall("KVM_SET_GSI_ROUTING"),
//                           AllOf(IsCall("KVM_IRQFD"), WithField("gsi", 24))));
namespace passthru::journal {

// Matches a successful call of that name.
MATCHER_P(IsCall, name, "") {
  return arg.kind == JournalEntry::Kind::kCall && arg.call.name == name &&
         arg.error == 0;
}

MATCHER_P2(IsFailedCall, name, error, "") {
  return arg.kind == JournalEntry::Kind::kCall && arg.call.name == name &&
         arg.error == error;
}

MATCHER_P(IsEvent, name, "") {
  return arg.kind == JournalEntry::Kind::kEvent && arg.call.name == name;
}

MATCHER_P(OnSubject, matcher, "") {
  return ::testing::ExplainMatchResult(matcher, arg.call.subject,
                                       result_listener);
}

// Matches a numeric field of any kind.
MATCHER_P2(WithField, name, matcher, "") {
  if (arg.call.Find(name) == nullptr) {
    *result_listener << "has no field " << name;
    return false;
  }
  return ::testing::ExplainMatchResult(::testing::MatcherCast<int64_t>(matcher),
                                       arg.Number(name), result_listener);
}

MATCHER_P2(WithText, name, matcher, "") {
  return ::testing::ExplainMatchResult(matcher, std::string(arg.Text(name)),
                                       result_listener);
}

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_JOURNAL_MATCHERS_H_
