// SPDX-License-Identifier: Apache-2.0
//
// The program "interrupted CALL... -- PROGRAM ARGUMENT..." runs a program that
// writes a journal of its kernel calls (--journal=FILE). It kills the program
// (SIGKILL) when the journal has a line with CALL, for each CALL in turn, and
// finally runs it to its end. So each run finds what a killed one left behind.
//
// Exits with the status of the last run. Fails if a run ended before its CALL.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr char kJournal[] = "/tmp/journal";

[[noreturn]] void Fail(const std::string& what) {
  std::printf("interrupted: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

pid_t Start(const std::vector<std::string>& command) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child > 0) return child;
  std::vector<char*> argv;
  for (const std::string& word : command) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

int StatusOf(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) Fail("waitpid");
  }
  return status;
}

// Runs the program and returns whether it lived until its journal had `call`.
bool RunUntil(const std::string& call, std::vector<std::string> command) {
  command.push_back(std::string("--journal=") + kJournal);
  const pid_t child = Start(command);
  // Blocks until the program opens the journal. The stream ends when the
  // program does.
  std::ifstream journal(kJournal);
  std::string line;
  while (std::getline(journal, line)) {
    if (line.find(call) == std::string::npos) continue;
    kill(child, SIGKILL);
    StatusOf(child);
    std::printf("killed at %s\n", line.c_str());
    return true;
  }
  StatusOf(child);
  std::printf("interrupted: it ended without '%s'\n", call.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> calls(argv + 1, argv + argc);
  std::vector<std::string> command;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i] != "--") continue;
    command.assign(calls.begin() + static_cast<ptrdiff_t>(i) + 1, calls.end());
    calls.resize(i);
    break;
  }
  if (command.empty()) {
    std::printf("usage: interrupted CALL... -- PROGRAM ARGUMENT...\n");
    return 2;
  }
  if (mkfifo(kJournal, 0600) != 0) Fail("mkfifo");
  for (const std::string& call : calls) {
    if (!RunUntil(call, command)) return 1;
  }
  const int status = StatusOf(Start(command));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
