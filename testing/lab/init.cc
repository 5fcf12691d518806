// SPDX-License-Identifier: Apache-2.0
//
// The lab's /init, which is process 1 of the machine that lab.sh boots. It
// mounts file systems, loads the modules of /lab/modules in order, makes the
// virtual functions of /lab/vfs and binds the devices of /lab/bind to vfio-pci.
// It then runs the command of /lab/command, prints the files of /lab/get,
// reports the command's exit status on the console and switches the machine
// off.
//
// It prints any failure and reports status 125, which means that the lab failed
// and not the program under test.

#include <fcntl.h>
#include <linux/reboot.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "testing/lab/typist.h"

namespace {

constexpr int kLabBroken = 125;

// Prints the last line. lab.sh shows the lines between LAB-BEGIN and this one.
[[noreturn]] void Finish(int status) {
  std::fflush(stdout);
  std::printf("\nLAB-EXIT %d\n", status);
  std::fflush(stdout);
  sync();
  reboot(RB_POWER_OFF);
  // Without CAP_SYS_BOOT this process can only exit. The end of process 1 is a
  // panic, which ends the machine as well.
  std::exit(status);
}

[[noreturn]] void Fail(const std::string& what) {
  std::printf("lab: %s: %s\n", what.c_str(), std::strerror(errno));
  Finish(kLabBroken);
}

void Mount(const char* type, const char* where) {
  mkdir(where, 0755);
  if (mount(type, where, type, 0, nullptr) != 0 && errno != EBUSY) {
    Fail(std::string("mount ") + where);
  }
}

// Returns the lines of a file, which may be absent.
std::vector<std::string> Lines(const char* path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

// Loads a module. The line has a file of /lab and its parameters, as in
// "vfio_iommu_type1.ko allow_unsafe_interrupts=1".
void LoadModule(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string path = "/lab/" + line.substr(0, space);
  const std::string parameters =
      space == std::string::npos ? "" : line.substr(space + 1);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("open " + path);
  if (syscall(SYS_finit_module, fd, parameters.c_str(), 0) != 0 &&
      errno != EEXIST) {
    Fail("finit_module " + path);
  }
  close(fd);
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

// Uses driver_override (Documentation/ABI/testing/sysfs-bus-pci).
void Bind(const std::string& bdf, const std::string& driver) {
  const std::string device = "/sys/bus/pci/devices/" + bdf;
  if (access(device.c_str(), F_OK) != 0) Fail("no device " + bdf);
  if (access((device + "/driver").c_str(), F_OK) == 0) {
    WriteFile(device + "/driver/unbind", bdf);
  }
  WriteFile(device + "/driver_override", driver);
  WriteFile("/sys/bus/pci/drivers_probe", bdf);
  if (access((device + "/driver").c_str(), F_OK) != 0) {
    Fail(driver + " does not take " + bdf);
  }
}

// Brings the device's network interfaces up and waits for their links.
void BringUp(const std::string& device) {
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator(device + "/net", none)) {
    ifreq change = {};
    const std::string name = entry.path().filename();
    name.copy(change.ifr_name, IFNAMSIZ - 1);
    change.ifr_flags = IFF_UP;
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &change) != 0) {
      Fail("bringing up " + name);
    }
    close(fd);
    char carrier = '0';
    for (int tries = 0; tries < 1200 && carrier != '1'; ++tries) {
      usleep(50 * 1000);
      std::ifstream(entry.path() / "carrier") >> carrier;
    }
    errno = ENOLINK;
    if (carrier != '1') Fail(name);
  }
}

// Makes virtual functions. "0000:01:00.0=2" gives 2 to a physical function. The
// physical function gets a driver without other effects, because vfio-pci gives
// the virtual functions of its own devices only to a user who knows its token.
// "0000:01:00.0=2,igb" gives it another driver.
void CreateVirtualFunctions(const std::string& line) {
  const size_t equals = line.find('=');
  const size_t comma = line.find(',', equals);
  const std::string bdf = line.substr(0, equals);
  const std::string device = "/sys/bus/pci/devices/" + bdf;
  Bind(bdf,
       comma == std::string::npos ? "pci-pf-stub" : line.substr(comma + 1));
  WriteFile(device + "/sriov_numvfs",
            line.substr(equals + 1, comma - equals - 1));
  BringUp(device);
}

// Runs the command. With `typist` its standard input and output are those of
// WakeSleepers().
int Run(const std::vector<std::string>& command, bool typist) {
  int input[2] = {-1, -1};
  int output[2] = {-1, -1};
  if (typist && (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0))
    Fail("pipe2");
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    if (typist && (dup2(input[0], STDIN_FILENO) < 0 ||
                   dup2(output[1], STDOUT_FILENO) < 0)) {
      _exit(kLabBroken);
    }
    std::vector<char*> argv;
    for (const std::string& word : command) {
      argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    std::printf("lab: exec %s: %s\n", argv[0], std::strerror(errno));
    std::fflush(stdout);
    _exit(kLabBroken);
  }
  if (typist) {
    close(input[0]);
    close(output[1]);
    passthru::lab::WakeSleepers(output[0], input[1]);
  }
  // Process 1 inherits every orphan, so this waits for its own child.
  int status = 0;
  for (;;) {
    const pid_t ended = wait(&status);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR) Fail("wait");
  }
  if (WIFSIGNALED(status)) {
    std::printf("lab: %s died of signal %d (%s)\n", command[0].c_str(),
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    return 128 + WTERMSIG(status);
  }
  return WEXITSTATUS(status);
}

// Prints a file's contents on the console for lab.sh.
void PrintFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in.is_open()) Fail("no file " + path);
  std::printf("\nLAB-FILE %s\n", path.c_str());
  std::string text((std::istreambuf_iterator<char>(in)),
                   std::istreambuf_iterator<char>());
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::printf("\nLAB-FILE-END\n");
}

}  // namespace

int main() {
  // The firmware may have left text on the line.
  std::printf("\nLAB-BEGIN\n");
  std::fflush(stdout);
  setenv("PATH", "/bin:/lab", 1);
  setenv("HOME", "/", 1);
  setenv("TMPDIR", "/tmp", 1);
  mkdir("/tmp", 01777);
  Mount("proc", "/proc");
  Mount("sysfs", "/sys");
  Mount("devtmpfs", "/dev");
  for (const std::string& line : Lines("/lab/modules")) LoadModule(line);
  for (const std::string& line : Lines("/lab/vfs"))
    CreateVirtualFunctions(line);
  for (const std::string& bdf : Lines("/lab/bind")) Bind(bdf, "vfio-pci");
  const std::vector<std::string> command = Lines("/lab/command");
  if (command.empty()) {
    errno = ENOENT;
    Fail("/lab/command");
  }
  const int status = Run(command, !Lines("/lab/wake").empty());
  for (const std::string& path : Lines("/lab/get")) PrintFile(path);
  Finish(status);
}
