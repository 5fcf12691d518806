// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/json_text.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

TEST(JsonStringTest, EscapesWhatJsonAndHtmlGiveAMeaning) {
  EXPECT_EQ(JsonString("NVMe \"disk\" \\ 1"), R"("NVMe \"disk\" \\ 1")");
  EXPECT_EQ(JsonString("a\nb\x01\x7f"), R"("a\u000ab\u0001\u007f")");
  EXPECT_EQ(JsonString("</script>&"), R"("\u003c/script\u003e\u0026")");
  EXPECT_EQ(JsonString(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(JsonStringTest, KeepsUtf8AndReplacesOtherBytes) {
  const std::string valid = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";
  EXPECT_EQ(JsonString(valid), "\"" + valid + "\"");
  // A lone byte, a sequence cut short, an overlong one and a surrogate.
  EXPECT_EQ(JsonString("\xff"), R"("\ufffd")");
  EXPECT_EQ(JsonString("\xe2\x82"), R"("\ufffd\ufffd")");
  EXPECT_EQ(JsonString("\xc0\xaf"), R"("\ufffd\ufffd")");
  EXPECT_EQ(JsonString("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");
}

TEST(JsonInHtmlTest, LeavesNothingThatEndsAScript) {
  EXPECT_EQ(JsonInHtml(R"({"a": "</script><!--"})"),
            R"({"a": "\u003c/script\u003e\u003c!--"})");
}

}  // namespace
}  // namespace passthru::vmm
