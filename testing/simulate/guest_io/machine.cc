// SPDX-License-Identifier: Apache-2.0
#include "testing/simulate/guest_io/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace guest_io {
namespace {

constexpr int kWaits = 60'000;  // Of 10 ms, for an emulated machine.

int OpenLine() {
  const int line = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
  termios settings;
  if (line < 0 || tcgetattr(line, &settings) != 0) {
    perror("guest_io: /dev/ttyS1");
    exit(1);
  }
  cfmakeraw(&settings);
  tcsetattr(line, TCSANOW, &settings);
  return line;
}

int Line() {
  static const int line = OpenLine();
  return line;
}

}  // namespace

void Say(const std::string& text) {
  const std::string whole = "guest_io: " + text + "\n";
  // One write, so that lines of threads do not mix.
  if (write(Line(), whole.data(), whole.size()) < 0) perror("guest_io: write");
  tcdrain(Line());
}

void AwaitHost() {
  char byte = 0;
  while (byte != '\n') {
    if (read(Line(), &byte, 1) != 1) Fail("read of the line to the host");
  }
}

void Fail(const std::string& what) {
  const int error = errno;
  Say("FAILED: " + what + " (errno " + std::to_string(error) + ", " +
      strerror(error) + ")");
  // Other threads may be in the middle of something.
  _exit(1);
}

void AwaitThat(const std::string& what,
               const std::function<bool()>& condition) {
  for (int i = 0; i < kWaits; ++i) {
    if (condition()) return;
    const timespec wait = {.tv_sec = 0, .tv_nsec = 10'000'000};
    nanosleep(&wait, nullptr);
  }
  Fail("in vain it was waited that " + what);
}

void WriteFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) Fail("open " + path);
  if (write(fd, text.data(), text.size()) !=
      static_cast<ssize_t>(text.size())) {
    Fail("write '" + text + "' to " + path);
  }
  close(fd);
}

std::string OneFile(const std::string& pattern) {
  glob_t found = {};
  std::string path;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0 && found.gl_pathc > 0) {
    path = found.gl_pathv[0];
  }
  globfree(&found);
  return path;
}

std::string DevicePath(const std::string& port) {
  return "/sys/bus/pci/devices/0000:" + port +
         "/0000:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f].[0-7]";
}

std::string DeviceAddress(const std::string& port) {
  const std::string path = OneFile(DevicePath(port));
  return path.substr(path.rfind('/') + 1);
}

std::string Interrupts(const std::string& part) {
  std::ifstream file("/proc/interrupts");
  uint64_t total = 0;
  std::string controller = "no controller";
  for (std::string line; std::getline(file, line);) {
    if (line.find(part) == std::string::npos) continue;
    std::istringstream words(line);
    std::string word;
    words >> word;  // The interrupt's number.
    while (words >> word) {
      if (word.find_first_not_of("0123456789") != std::string::npos) break;
      total += std::stoull(word);
    }
    controller = word.substr(0, word.find("-0000:"));
  }
  return std::to_string(total) + " interrupts by " + controller;
}

}  // namespace guest_io
