// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/selftests/results.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::selftests {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Statuses of waitpid() after exit(1), exit(4) and a segmentation fault.
constexpr int kExited1 = 1 << 8;
constexpr int kExited4 = 4 << 8;
constexpr int kKilled = 11;

TEST(SelftestOutputTest, HasTheResultOfEachCase) {
  EXPECT_THAT(ParseOutput("TAP version 13\n1..3\n"
                          "#  RUN           a.b ...\n"
                          "ok 1 a.b\n"
                          "ok 2 a.c # SKIP MSI: not supported\n"
                          "not ok 3 a.d\n"
                          "# FAILED: 2 / 3 tests passed.\n",
                          kExited1),
              ElementsAre(Result{"a.b", "pass"}, Result{"a.c", "skip"},
                          Result{"a.d", "fail"}));
}

TEST(SelftestOutputTest, ProgramWithoutCasesIsOne) {
  EXPECT_THAT(ParseOutput("No driver found\n", kExited4),
              ElementsAre(Result{"program", "skip"}));
  EXPECT_THAT(ParseOutput("", kExited1),
              ElementsAre(Result{"program", "fail"}));
  EXPECT_THAT(ParseOutput("", kKilled), ElementsAre(Result{"program", "fail"}));
}

TEST(SelftestOutputTest, ProgramThatEndsTooEarlyFails) {
  EXPECT_THAT(ParseOutput("1..2\nok 1 a.b\n", 0),
              ElementsAre(Result{"a.b", "pass"}, Result{"program", "fail"}));
  EXPECT_THAT(ParseOutput("1..1\nok 1 a.b\n", kKilled),
              ElementsAre(Result{"a.b", "pass"}, Result{"program", "fail"}));
}

TEST(SelftestOutputTest, LinesAreFoundAgain) {
  const std::string text = "lab\r\n" + ToLine("nvme/type1", {"a.b", "pass"}) +
                           "more\n" + ToLine("nvme/type1", {"a.c", "fail"});
  EXPECT_THAT(ReadResults(text), ElementsAre(Result{"nvme/type1/a.b", "pass"},
                                             Result{"nvme/type1/a.c", "fail"}));
}

TEST(SelftestExceptionsTest, LinesAreRead) {
  std::string error;
  const auto exceptions = ReadExceptions(
      "# comment\n\nkernel *.overflow of 7.2\napart *huge* pages\n", &error);
  EXPECT_THAT(error, IsEmpty());
  ASSERT_EQ(exceptions.size(), 2u);
  EXPECT_EQ(exceptions[0].pattern, "*.overflow");
  EXPECT_EQ(exceptions[0].reason, "of 7.2");
  EXPECT_EQ(exceptions[1].kind, Exception::Kind::kApart);
  ReadExceptions("always * it\n", &error);
  EXPECT_THAT(error, HasSubstr("\"always * it\""));
}

class SelftestComparisonTest : public ::testing::Test {
 protected:
  const std::vector<Exception> exceptions_ = {
      {"*.overflow", Exception::Kind::kKernel, "of 7.2"},
      {"*huge*", Exception::Kind::kApart, "pages"}};
};

TEST_F(SelftestComparisonTest, CountsWhatIsTheSame) {
  const std::vector<Result> results = {
      {"a", "pass"}, {"b", "skip"}, {"c.overflow", "fail"}, {"d", "ENOENT"}};
  const Comparison comparison = Compare(results, results, exceptions_);
  EXPECT_THAT(comparison.differences, IsEmpty());
  EXPECT_EQ(comparison.passed, 1);
  EXPECT_EQ(comparison.skipped, 1);
  EXPECT_EQ(comparison.failed, 1);
  EXPECT_EQ(comparison.answers, 1);
}

TEST_F(SelftestComparisonTest, NamesWhatDiffers) {
  EXPECT_THAT(Compare({{"a", "pass"}, {"b", "pass"}, {"c.overflow", "fail"}},
                      {{"a", "fail"}, {"c.overflow", "pass"}, {"d", "pass"}},
                      exceptions_)
                  .differences,
              ElementsAre("a: Linux pass, the simulation fail.",
                          "b: Linux pass, the simulation none.",
                          "c.overflow: Linux fail, the simulation pass.",
                          "d: Linux none, the simulation pass."));
}

TEST_F(SelftestComparisonTest, FailureOfBothNeedsAReason) {
  EXPECT_THAT(
      Compare({{"a", "fail"}}, {{"a", "fail"}}, exceptions_).differences,
      ElementsAre(HasSubstr("a: fails on both")));
}

TEST_F(SelftestComparisonTest, WhatIsSetApartIsNotCompared) {
  const Comparison comparison =
      Compare({{"huge", "skip"}}, {{"huge", "pass"}}, exceptions_);
  EXPECT_THAT(comparison.differences, IsEmpty());
  EXPECT_EQ(comparison.apart, 1);
  EXPECT_THAT(Compare({{"huge", "skip"}}, {}, exceptions_).differences,
              ElementsAre("huge: Linux skip, the simulation none."));
}

TEST_F(SelftestComparisonTest, WhatIsAbsentMayNotBeThere) {
  const std::vector<Exception> absent = {
      {"power", Exception::Kind::kAbsent, "none"}};
  const Comparison comparison = Compare({{"power", "directory"}}, {}, absent);
  EXPECT_THAT(comparison.differences, IsEmpty());
  EXPECT_EQ(comparison.apart, 1);
  EXPECT_THAT(Compare({{"power", "directory"}}, {{"power", "link"}}, absent)
                  .differences,
              ElementsAre("power: Linux directory, the simulation link."));
}

TEST_F(SelftestComparisonTest, NameThatOccursTwiceIsReported) {
  EXPECT_THAT(
      Compare({{"a", "pass"}, {"a", "pass"}}, {{"a", "pass"}}, exceptions_)
          .differences,
      ElementsAre("Linux has a twice."));
}

}  // namespace
}  // namespace passthru::selftests
