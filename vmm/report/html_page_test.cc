// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/html_page.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

size_t Occurrences(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

TEST(HtmlPageTest, HasEverythingInOneFile) {
  const std::string page = HtmlPage("{}", {});
  EXPECT_THAT(page, HasSubstr("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(page, HasSubstr("'use strict';"));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  // It names no other place, but for the namespace of SVG.
  EXPECT_EQ(Occurrences(page, "://"), 1u);
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, Not(HasSubstr("innerHTML")));
}

TEST(HtmlPageTest, TextOfADeviceCannotEndTheScript) {
  const std::string evil = "</script><script>alert(1)</script>";
  TimelineData timeline;
  timeline.lanes = {evil};
  timeline.phases = {{.name = evil}};
  timeline.events = {{.name = evil, .detail = evil}};
  const std::string page =
      HtmlPage(R"({"devices": [{"device": {"identity": ")" + evil + R"("}}]})",
               timeline);
  EXPECT_EQ(Occurrences(page, "</script>"),
            Occurrences(HtmlPage("{}", {}), "</script>"));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
}

// A marker in the data stays what it is.
TEST(HtmlPageTest, DataWithAMarkerIsNotReplaced) {
  EXPECT_THAT(HtmlPage(R"({"a": "{{SCRIPT}}"})", {}),
              HasSubstr(R"({"a": "{{SCRIPT}}"})"));
}

}  // namespace
}  // namespace passthru::vmm
