// SPDX-License-Identifier: Apache-2.0
//
// The program "driven SOCKET [WHEN COMMAND]... -- PROGRAM [ARGUMENT]..." runs a
// program and shows its output. When a line of it contains WHEN, it sends
// COMMAND to the program's control socket and shows the answer. The next WHEN
// counts from then on, and its command waits for that answer, but the output
// does not. The WHEN "+" is the line of the command before it. It exits with
// the program's status, or with 125 if the output ended before the last WHEN.
//
// A command "> FILE TEXT" writes a text to a file of the host, and for
// "& FILE TEXT" the next command does not wait.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/vmm/control/control_client.h"

namespace {

constexpr int kFailed = 125;

struct Step {
  std::string when;
  std::string command;
};

int Fail(const char* what) {
  std::printf("driven: %s: %s\n", what, std::strerror(errno));
  return kFailed;
}

// Writes a line at once, so that lines of several threads do not mix.
void Print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

bool IsInBackground(std::string_view command) {
  return command.substr(0, 2) == "& ";
}

absl::StatusOr<std::string> WriteFile(const std::string& file,
                                      const std::string& text) {
  const int fd = open(file.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) ==
                                      static_cast<ssize_t>(text.size());
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!written) return absl::UnavailableError(std::strerror(error));
  return "written";
}

void Carry(const std::string& socket, const std::string& command) {
  absl::StatusOr<std::string> answer;
  if (command.starts_with("> ") || IsInBackground(command)) {
    const size_t space = command.find(' ', 2);
    answer =
        WriteFile(command.substr(2, space - 2),
                  space == std::string::npos ? "" : command.substr(space + 1));
  } else {
    answer = passthru::vmm::SendCommand(socket, command);
  }
  std::string text =
      answer.ok() ? *answer : std::string(answer.status().message());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  Print("driven: " + command + (answer.ok() ? ": " : ": error: ") + text);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Step> steps;
  int i = 2;
  for (; i + 1 < argc && std::strcmp(argv[i], "--") != 0; i += 2) {
    steps.push_back({argv[i], argv[i + 1]});
  }
  if (i + 1 >= argc) {
    std::printf("driven: SOCKET [WHEN COMMAND]... -- PROGRAM [ARGUMENT]...\n");
    return kFailed;
  }
  const std::string socket = argv[1];
  int output[2];
  if (pipe(output) != 0) return Fail("pipe");
  const pid_t child = fork();
  if (child < 0) return Fail("fork");
  if (child == 0) {
    dup2(output[1], STDOUT_FILENO);
    close(output[0]);
    close(output[1]);
    execv(argv[i + 1], argv + i + 1);
    _exit(Fail("exec"));
  }
  close(output[1]);
  std::thread commands;  // the last one, which waits for those before it
  std::vector<std::thread> background;
  const auto start = [&](const std::string& command) {
    if (IsInBackground(command)) {
      background.emplace_back(Carry, socket, command);
      return;
    }
    commands = std::thread(
        [&socket, &command, earlier = std::move(commands)]() mutable {
          if (earlier.joinable()) earlier.join();
          Carry(socket, command);
        });
  };
  size_t next = 0;
  std::FILE* const lines = fdopen(output[0], "r");
  std::string line;
  for (int c = std::fgetc(lines); c != EOF; c = std::fgetc(lines)) {
    if (c == '\r') continue;
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    Print(line);
    if (next < steps.size() &&
        line.find(steps[next].when) != std::string::npos) {
      do {
        start(steps[next++].command);
      } while (next < steps.size() && steps[next].when == "+");
    }
    line.clear();
  }
  if (!line.empty()) Print(line);
  if (commands.joinable()) commands.join();
  for (std::thread& thread : background) thread.join();
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (next < steps.size()) {
    Print("driven: the output ended before '" + steps[next].when + "'");
    return kFailed;
  }
  if (!WIFEXITED(status)) {
    Print("driven: the program died of a signal");
    return kFailed;
  }
  return WEXITSTATUS(status);
}
