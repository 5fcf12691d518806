// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/answers.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"

namespace passthru::contract {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kAtLeast = 1000;  // Questions about devices.

TEST(ObservationTest, LineIsReadBack) {
  const Observation one = {
      .section = "irqfd", .question = "vm: gsi 5", .answer = "0 a=1"};
  EXPECT_EQ(one.ToString(), "irqfd: vm: gsi 5 -> 0 a=1");
  EXPECT_EQ(Observation::Parse(one.ToString()), one);
  EXPECT_EQ(Observation::Parse("nothing of the kind"), std::nullopt);
}

TEST(ObservationTest, RepeatedQuestionIsNumbered) {
  ObservationList list;
  list.Begin("reset");
  list.Add("RESET", "0");
  list.Add("RESET", "EINVAL");
  list.Detail("later");
  EXPECT_THAT(list.Take(),
              ElementsAre(Observation{"reset", "RESET", "0"},
                          Observation{"reset", "RESET (2)", "EINVAL later"}));
}

TEST(AgreementTest, CountsAndNamesWhatDiffers) {
  Agreement agreement;
  agreement.Compare("edu", {{"a", "q", "0"}, {"a", "r", "EINVAL"}},
                    {{"a", "q", "0"}, {"a", "r", "0"}});
  EXPECT_THAT(agreement.differences(),
              ElementsAre(HasSubstr("edu, a: r -> EINVAL")));
  EXPECT_THAT(agreement.Report(), HasSubstr("1 of     2"));
}

TEST(AgreementTest, AnotherQuestionIsADifference) {
  Agreement agreement;
  agreement.Compare("edu", {{"a", "q", "0"}}, {{"a", "r", "0"}});
  EXPECT_THAT(agreement.differences(), ElementsAre(HasSubstr("asked")));
}

TEST(ParseAnswersTest, LineThatIsNoAnswerIsNamed) {
  EXPECT_THAT(ParseAnswers("# a comment\na: q -> 0\n", "edu.txt"),
              IsOkAndHolds(ElementsAre(Observation{"a", "q", "0"})));
  EXPECT_THAT(ParseAnswers("a: q -> 0\n\n", "edu.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("edu.txt: not an observation")));
}

class AnswersTest : public ::testing::TestWithParam<fake::KernelVersion> {};

TEST_P(AnswersTest, EverySectionHasItsMinimum) {
  std::vector<Observation> all;
  size_t of_devices = 0;
  for (const std::string_view subject : kSubjects) {
    const auto answers = LoadAnswers(kAnswersFolder, subject, GetParam());
    ASSERT_THAT(answers, IsOk());
    all.insert(all.end(), answers->begin(), answers->end());
    if (subject != "kvm") of_devices += answers->size();
  }
  EXPECT_THAT(ThinSections(all), IsEmpty());
  EXPECT_GE(of_devices, kAtLeast);
}

INSTANTIATE_TEST_SUITE_P(AllVersions, AnswersTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

}  // namespace
}  // namespace passthru::contract
