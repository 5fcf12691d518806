// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

TEST(EscapeKeysTest, CtrlAThenXQuits) {
  EscapeKeys keys;
  const auto result = keys.Take("ls\r\x01x");
  EXPECT_EQ(result.input, "ls\r");
  EXPECT_TRUE(result.quit);
}

TEST(EscapeKeysTest, AnEscapeMayComeInTwoReads) {
  EscapeKeys keys;
  EXPECT_EQ(keys.Take("x\x01").input, "x");
  EXPECT_TRUE(keys.Take("x").quit);
}

TEST(EscapeKeysTest, OtherKeysPass) {
  EscapeKeys keys;
  const auto result = keys.Take(
      "\x03"
      "a\x01\x01"
      "b\x01"
      "c");
  EXPECT_EQ(result.input,
            "\x03"
            "a\x01"
            "b\x01"
            "c");
  EXPECT_FALSE(result.quit);
}

TEST(RawTerminalTest, TheTerminalIsAsItWasAfterwards) {
  const int main = posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_GE(main, 0);
  ASSERT_EQ(grantpt(main), 0);
  ASSERT_EQ(unlockpt(main), 0);
  const int side = open(ptsname(main), O_RDWR | O_NOCTTY);
  ASSERT_GE(side, 0);
  const auto flags = [side] {
    termios now = {};
    EXPECT_EQ(tcgetattr(side, &now), 0);
    return now.c_lflag;
  };
  const auto before = flags();
  {
    const RawTerminal raw(side);
    EXPECT_TRUE(raw.is_terminal());
    EXPECT_EQ(flags() & (ICANON | ISIG | ECHO), 0u);
  }
  EXPECT_EQ(flags(), before);
  close(side);
  close(main);
}

TEST(RawTerminalTest, AFileIsNoTerminal) {
  const int file = open("/dev/null", O_RDWR);
  EXPECT_FALSE(RawTerminal(file).is_terminal());
  close(file);
}

}  // namespace
}  // namespace passthru::vmm
