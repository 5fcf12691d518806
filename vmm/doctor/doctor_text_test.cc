// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/doctor_text.h"

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/vmm/doctor/doctor.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/wrong_host.h"

namespace passthru::doctor {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string ReadDocument(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.is_open()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Report ExamineNamed(const std::set<Wrong>& wrong) {
  WrongHost host(wrong);
  return Examine({.syscalls = host.syscalls(),
                  .devices = {host.device()},
                  .guest_memory = uint64_t{8} << 30});
}

// The documents show what the program prints, as a code block.
void ExpectShownIn(const std::string& document, const std::string& text) {
  EXPECT_TRUE(absl::StrContains(ReadDocument(document),
                                absl::StrCat("```\n", text, "```\n")))
      << document << " must have this block:\n```\n"
      << text << "```";
}

TEST(DoctorTextTest, DocumentsShowWhatItPrints) {
  ExpectShownIn(
      "README.md",
      RenderText(ExamineNamed({Wrong::kLockedMemory, Wrong::kMounted}),
                 Detail::kBrief));
  ExpectShownIn("docs/group-does-not-work.md",
                RenderText(ExamineNamed({Wrong::kSibling}), Detail::kNormal));
}

TEST(DoctorTextTest, LinesFitTheScreen) {
  for (const Detail detail : {Detail::kBrief, Detail::kNormal, Detail::kAll}) {
    const std::string text =
        RenderText(ExamineNamed({Wrong::kIommuOff, Wrong::kMounted}), detail);
    for (const std::string_view line : absl::StrSplit(text, '\n')) {
      if (absl::StrContains(line, " > ")) continue;  // A command.
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_FALSE(absl::EndsWith(line, " ")) << line;
    }
  }
}

TEST(DoctorTextTest, BriefShowsOnlyWhatIsInTheWay) {
  const Report report = ExamineNamed({Wrong::kNoReset});
  EXPECT_THAT(RenderText(report, Detail::kBrief), Not(HasSubstr("BARs")));
  EXPECT_THAT(RenderText(report, Detail::kBrief), HasSubstr("reset"));
  EXPECT_THAT(RenderText(report, Detail::kNormal), HasSubstr("BARs"));
}

TEST(DoctorTextTest, BriefListsWhatStaysInOneLine) {
  WrongHost host({});
  host.AddBridgeToGroup();
  const Report report = Examine({.syscalls = host.syscalls()});
  const std::string text = RenderText(report, Detail::kBrief);
  EXPECT_THAT(text, HasSubstr("with the host: 0000:00:1c.0"));
  EXPECT_THAT(text, Not(HasSubstr("0000:00:1c.0  ")));
}

TEST(DoctorTextTest, AllShowsHowEverythingIsKnown) {
  const Report report = ExamineNamed({});
  constexpr char kHow[] = "VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU) = 0";
  EXPECT_THAT(RenderText(report, Detail::kNormal), Not(HasSubstr(kHow)));
  EXPECT_THAT(RenderText(report, Detail::kAll), HasSubstr(kHow));
  EXPECT_THAT(RenderText(report, Detail::kAll),
              HasSubstr("  It can be passed through.\n"));
}

}  // namespace
}  // namespace passthru::doctor
