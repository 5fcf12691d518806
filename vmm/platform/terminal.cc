// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/terminal.h"

#include <termios.h>

#include <string_view>
#include <utility>

namespace passthru::vmm {
namespace {

constexpr char kEscape = 'a' & 0x1f;  // Ctrl-A
constexpr char kQuit = 'x';

}  // namespace

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  termios now = {};
  if (tcgetattr(fd_, &now) != 0) return;
  before_ = now;
  cfmakeraw(&now);
  // What this process prints still gets its carriage returns.
  now.c_oflag |= OPOST;
  tcsetattr(fd_, TCSANOW, &now);
}

RawTerminal::~RawTerminal() {
  if (before_.has_value()) tcsetattr(fd_, TCSANOW, &*before_);
}

EscapeKeys::Result EscapeKeys::Take(std::string_view keys) {
  Result result;
  for (const char key : keys) {
    if (!std::exchange(escaped_, false)) {
      if (key == kEscape) {
        escaped_ = true;
      } else {
        result.input.push_back(key);
      }
    } else if (key == kQuit) {
      result.quit = true;
    } else {
      if (key != kEscape) result.input.push_back(kEscape);
      result.input.push_back(key);
    }
  }
  return result;
}

}  // namespace passthru::vmm
