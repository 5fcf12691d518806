// SPDX-License-Identifier: Apache-2.0
//
// Starts itself by every function of the C library, with an environment that
// lacks the launcher's variables, or with another library to preload. The child
// must be on the simulated kernel, which has the edu of the fixtures, and the
// launcher's library must come first.
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "testing/simulate/clients/client.h"

extern char** environ;

namespace client {
namespace {

constexpr char kLibrary[] = "libpassthru_simulate.so";
constexpr char kOther[] = "libm.so.6";

// Is what the child does.
void Look(bool has_other) {
  EXPECT(access("/sys/bus/pci/devices/0000:00:02.0", F_OK) == 0);
  EXPECT(getenv("LD_PRELOAD") != nullptr);
  const std::string list = getenv("LD_PRELOAD");
  const std::string first = list.substr(0, list.find(':'));
  EXPECT(first.ends_with(kLibrary));
  EXPECT(list.ends_with(kOther) == has_other);
  EXPECT(list == first || has_other);
}

bool Succeeded(pid_t child) {
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

// Runs `start` in a child, which it turns into another program.
void Starts(const std::function<void()>& start) {
  const pid_t child = fork();
  if (child == 0) {
    start();
    _exit(2);
  }
  EXPECT(Succeeded(child));
}

void All(const char* self, const char* name) {
  char* none[] = {nullptr};
  char variable[] = "LD_PRELOAD=libm.so.6";
  char* other[] = {variable, nullptr};
  char* bare[] = {const_cast<char*>(self), const_cast<char*>("bare"), nullptr};
  char* both[] = {const_cast<char*>(self), const_cast<char*>("both"), nullptr};
  Starts([&] { execve(self, bare, none); });
  Starts([&] { execve(self, bare, nullptr); });
  Starts([&] { execve(self, both, other); });
  Starts([&] { execvpe(name, bare, none); });
  Starts([&] { execvpe(name, both, other); });
  Starts([&] { execle(self, self, "bare", nullptr, none); });
  Starts([&] { execle(self, self, "both", nullptr, other); });
  Starts([&] { fexecve(open(self, O_RDONLY), bare, none); });
  Starts([&] { execveat(AT_FDCWD, self, both, other, 0); });
  Starts([&] { syscall(SYS_execve, self, bare, none); });
  const auto cleared = [&](const std::function<void()>& start) {
    Starts([&] {
      const std::string path = getenv("PATH");
      clearenv();
      setenv("PATH", path.c_str(), 1);
      start();
    });
  };
  cleared([&] { execv(self, bare); });
  cleared([&] { execvp(name, bare); });
  cleared([&] { execl(self, self, "bare", nullptr); });
  cleared([&] { execlp(name, self, "bare", nullptr); });
  const std::string command = std::string("exec ") + self + " bare";
  cleared([&] { _exit(system(command.c_str()) == 0 ? 0 : 1); });
  cleared([&] { _exit(pclose(popen(command.c_str(), "r")) == 0 ? 0 : 1); });
  pid_t child = 0;
  EXPECT(posix_spawn(&child, self, nullptr, nullptr, bare, none) == 0);
  EXPECT(Succeeded(child));
  EXPECT(posix_spawnp(&child, name, nullptr, nullptr, both, other) == 0);
  EXPECT(Succeeded(child));
  Starts([&] {
    setenv("LD_PRELOAD", kOther, 1);
    execv(self, both);
  });
  char missing[] = "no-such-program";
  EXPECT(execvp(missing, bare) == -1 && errno == ENOENT);
}

}  // namespace
}  // namespace client

int main(int argc, char** argv) {
  if (argc > 1) {
    client::Look(strcmp(argv[1], "both") == 0);
    return 0;
  }
  char* const self = realpath("/proc/self/exe", nullptr);
  EXPECT(self != nullptr);
  const std::string path = self;
  const size_t slash = path.rfind('/');
  setenv("PATH", (path.substr(0, slash) + ":/usr/bin:/bin").c_str(), 1);
  client::All(self, path.substr(slash + 1).c_str());
  free(self);
  return 0;
}
