// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/shell_word.h"

#include <string>

#include "gtest/gtest.h"

namespace passthru::doctor {
namespace {

TEST(ShellWordTest, QuotesWhatTheShellWouldTake) {
  EXPECT_EQ(ShellWord("/dev/mapper/vg-home"), "/dev/mapper/vg-home");
  EXPECT_EQ(ShellWord("/mnt/my disk"), "'/mnt/my disk'");
  EXPECT_EQ(ShellWord("a'b"), "'a'\\''b'");
  EXPECT_EQ(ShellWord("a;reboot"), "'a;reboot'");
  EXPECT_EQ(ShellWord("{a,b}[c]"), "'{a,b}[c]'");
  EXPECT_EQ(ShellWord(""), "''");
}

TEST(ShellWordTest, EscapesWhatCannotBePrinted) {
  EXPECT_EQ(ShellWord("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(ShellWord("caf\xe9"), "$'caf\\351'");
  EXPECT_EQ(ShellWord("a\nb'\\"), "$'a\\012b\\'\\\\'");
}

TEST(PrintableTest, LeavesTextAndEscapesTheRest) {
  EXPECT_EQ(Printable("D0 \xc3\xa9"), "D0 \xc3\xa9");
  EXPECT_EQ(Printable("\x1b[2J\xff"), "\\033[2J\\377");
  // A control of the second kind, a surrogate and an overlong sequence.
  EXPECT_EQ(Printable("\xc2\x9b"), "\\302\\233");
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\355\\240\\200");
  EXPECT_EQ(Printable("\xe0\x80\x80"), "\\340\\200\\200");
  EXPECT_EQ(Printable("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(Printable("\xf0\x9f"), "\\360\\237");
}

TEST(PrintableTest, LongTextIsCut) {
  EXPECT_EQ(Printable(std::string(100'000, 'x')),
            std::string(400, 'x') + "...");
}

}  // namespace
}  // namespace passthru::doctor
