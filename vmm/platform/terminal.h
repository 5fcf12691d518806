// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_PLATFORM_TERMINAL_H_
#define PASSTHRU_VMM_PLATFORM_TERMINAL_H_

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

namespace passthru::vmm {

// While it lives, the terminal on the descriptor passes each key on as it is
// typed, Ctrl-C included. Does nothing if the descriptor is no terminal.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

  bool is_terminal() const { return before_.has_value(); }

 private:
  const int fd_;
  std::optional<termios> before_;
};

// Finds the keys in the input of a terminal that are for the VMM. Ctrl-A begins
// one. After it, x ends the VM, and Ctrl-A stands for itself. Any other key
// passes with its Ctrl-A.
class EscapeKeys {
 public:
  struct Result {
    std::string input;  // what is for the guest
    bool quit = false;
  };
  Result Take(std::string_view keys);

 private:
  bool escaped_ = false;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_PLATFORM_TERMINAL_H_
