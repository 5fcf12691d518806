// SPDX-License-Identifier: Apache-2.0
//
// The program "run_selftests FOLDER NAME=ADDRESS..." runs Linux's VFIO
// selftests, the programs of a folder, on devices, in both type 1 modes, and
// asks what sysfs says of these. It prints a line for each case and answer, and
// the output of a program that fails. Exits with 0 whatever the programs gave.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "passthru/testing/selftests/results.h"
#include "passthru/testing/selftests/sysfs_answers.h"

namespace passthru::selftests {
namespace {

constexpr const char* kModes[] = {"vfio_type1_iommu", "vfio_type1v2_iommu"};
// The modes in libvfio/iommu.h, and what the names of variants have besides.
constexpr const char* kAllModes[] = {"vfio_type1_iommu", "vfio_type1v2_iommu",
                                     "iommufd_compat_type1",
                                     "iommufd_compat_type1v2", "iommufd"};
constexpr const char* kSuffixes[] = {"", "_anonymous", "_anonymous_hugetlb_2mb",
                                     "_anonymous_hugetlb_1gb"};

// Returns the options that leave out the variants of other modes.
std::vector<std::string> OptionsFor(const std::string& mode) {
  std::vector<std::string> options;
  for (const std::string other : kAllModes) {
    if (other == mode) continue;
    for (const char* const suffix : kSuffixes) {
      options.push_back("-V");
      options.push_back(other + suffix);
    }
  }
  return options;
}

[[noreturn]] void Fail(const char* what) {
  std::printf("run_selftests: %s: %s\n", what, std::strerror(errno));
  std::fflush(stdout);
  std::_Exit(1);
}

// A child with the end of a pipe that has its output.
struct Child {
  pid_t pid = -1;
  int output = -1;
};

// Runs `body`, which does not return, in a child.
template <typename Body>
Child Start(Body body) {
  std::fflush(stdout);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) Fail("pipe2");
  const pid_t pid = ::fork();
  if (pid < 0) Fail("fork");
  if (pid == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    body();
    std::_Exit(1);
  }
  ::close(ends[1]);
  return {.pid = pid, .output = ends[0]};
}

struct Ended {
  std::string output;
  int status = 0;
};

Ended WaitFor(const Child& child) {
  Ended ended;
  char buffer[4096];
  for (;;) {
    const ssize_t length = ::read(child.output, buffer, sizeof(buffer));
    if (length > 0) ended.output.append(buffer, length);
    if (length == 0 || (length < 0 && errno != EINTR)) break;
  }
  ::close(child.output);
  while (::waitpid(child.pid, &ended.status, 0) < 0 && errno == EINTR) {
  }
  return ended;
}

Ended Run(const std::vector<std::string>& command, const std::string& mode) {
  return WaitFor(Start([&] {
    ::setenv("PASSTHRU_IOMMU_MODE", mode.c_str(), 1);
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (const std::string& word : command) {
      argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    Fail(argv[0]);
  }));
}

std::vector<std::string> ProgramsOf(const char* folder) {
  std::vector<std::string> programs;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    programs.push_back(entry.path().string());
  }
  std::sort(programs.begin(), programs.end());
  return programs;
}

void RunProgram(const std::string& program, const std::string& mode,
                const std::string& device) {
  const size_t equals = device.find('=');
  std::vector<std::string> command = OptionsFor(mode);
  command.insert(command.begin(), program);
  command.push_back(device.substr(equals + 1));
  const Ended ended = Run(command, mode);
  const std::vector<Result> results = ParseOutput(ended.output, ended.status);
  const std::string name = program.substr(program.rfind('/') + 1);
  bool failed = false;
  for (const Result& result : results) {
    const std::string where =
        device.substr(0, equals) + "/" + mode + "/" + name;
    std::fputs(ToLine(where, result).c_str(), stdout);
    failed = failed || result.result == "fail";
  }
  if (failed) {
    std::printf("--- %s %s %s, status %#x\n%s\n", device.c_str(), mode.c_str(),
                name.c_str(), ended.status, ended.output.c_str());
  }
}

// Runs everything on one device.
void RunOn(const std::string& device,
           const std::vector<std::string>& programs) {
  const size_t equals = device.find('=');
  for (const Result& answer : AskSysfs(device.substr(equals + 1))) {
    std::fputs(ToLine(device.substr(0, equals) + "/sysfs", answer).c_str(),
               stdout);
  }
  for (const char* const mode : kModes) {
    for (const std::string& program : programs) {
      RunProgram(program, mode, device);
    }
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace passthru::selftests

int main(int argc, char** argv) {
  namespace selftests = passthru::selftests;
  const std::vector<std::string> programs =
      argc < 3 ? std::vector<std::string>() : selftests::ProgramsOf(argv[1]);
  if (programs.empty()) {
    std::printf("usage: run_selftests FOLDER NAME=ADDRESS...\n");
    return 2;
  }
  // The devices are independent of one another, and the tests often sleep.
  std::vector<selftests::Child> children;
  for (int i = 2; i < argc; ++i) {
    children.push_back(selftests::Start([&] {
      selftests::RunOn(argv[i], programs);
      std::_Exit(0);
    }));
  }
  bool all = true;
  for (const selftests::Child& child : children) {
    const selftests::Ended ended = selftests::WaitFor(child);
    std::fputs(ended.output.c_str(), stdout);
    all = all && ended.status == 0;
  }
  return all ? 0 : 1;
}
