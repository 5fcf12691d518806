// SPDX-License-Identifier: Apache-2.0
#include "testing/lab/typist.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string>

namespace passthru::lab {

void WakeSleepers(int output, int input) {
  constexpr int kFirstPause = 2000;  // milliseconds
  constexpr int kLastPause = 32000;
  bool asleep = false;
  int pause = kFirstPause;
  std::string text;
  for (;;) {
    pollfd ready = {.fd = output, .events = POLLIN, .revents = 0};
    const int count = poll(&ready, 1, asleep ? pause : -1);
    if (count == 0) {
      if (write(input, "\n", 1) != 1) return;
      if (pause < kLastPause) pause *= 2;
      continue;
    }
    char buffer[4096];
    const ssize_t got = read(output, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    std::fwrite(buffer, 1, static_cast<size_t>(got), stdout);
    std::fflush(stdout);
    text.append(buffer, static_cast<size_t>(got));
    for (;;) {
      const std::string wanted = asleep ? "GUEST-AWAKE" : "GUEST-SLEEPS";
      const size_t at = text.find(wanted);
      if (at == std::string::npos) break;
      text.erase(0, at + wanted.size());
      asleep = !asleep;
      pause = kFirstPause;
    }
    // The last bytes may be the beginning of a word.
    constexpr size_t kKept = 16;
    if (text.size() > kKept) text.erase(0, text.size() - kKept);
  }
}

}  // namespace passthru::lab
