// SPDX-License-Identifier: Apache-2.0
//
// Looks at the devices of the simulated machine in /sys and /dev, by every way
// that a path can take. It runs with the edu and the e1000e of the fixtures,
// the latter without a driver.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

#include "testing/simulate/clients/client.h"

namespace client {
namespace {

std::set<std::string> Names(DIR* directory) {
  EXPECT(directory != nullptr);
  std::set<std::string> names;
  while (const dirent* const entry = readdir(directory)) {
    names.insert(entry->d_name);
  }
  closedir(directory);
  return names;
}

std::string Text(int fd) {
  char text[256];
  const ssize_t length = read(fd, text, sizeof(text));
  EXPECT(length >= 0);
  close(fd);
  return std::string(text, static_cast<size_t>(length));
}

std::string Link(const char* path) {
  char target[256];
  const ssize_t length = readlink(path, target, sizeof(target));
  EXPECT(length > 0);
  return std::string(target, static_cast<size_t>(length));
}

void Directories() {
  const std::set<std::string> devices = {".", "..", "0000:00:02.0",
                                         "0000:01:00.0"};
  EXPECT(Names(opendir("/sys/bus/pci/devices")) == devices);
  EXPECT(Names(opendir("//sys/bus/./pci//devices/")) == devices);
  EXPECT(Names(opendir("/sys/bus/pci/drivers/../devices")) == devices);
  EXPECT(Names(fdopendir(open("/sys/bus/pci/devices", O_RDONLY))) == devices);
  const int bus = open("/sys/bus", O_RDONLY | O_DIRECTORY);
  EXPECT(Names(fdopendir(openat(bus, "pci/devices", O_RDONLY))) == devices);
  dirent** list = nullptr;
  EXPECT(scandir("/sys/bus/pci/devices", &list, nullptr, alphasort) == 4);
  EXPECT(Names(opendir("/dev/vfio")) ==
         (std::set<std::string>{".", "..", "3", "vfio"}));
  EXPECT(Names(opendir("/sys/kernel/iommu_groups")) ==
         (std::set<std::string>{".", "..", "3", "6"}));
  const std::set<std::string> modules = Names(opendir("/sys/module"));
  EXPECT(modules.contains("vfio_pci") && modules.contains("e1000e"));
  EXPECT(opendir("/sys/bus/pci/devices/0000:00:1f.7") == nullptr &&
         errno == ENOENT);
  // Around it is the real file system.
  EXPECT(Names(opendir("/sys/bus/pci/../../kernel")).contains("mm") ||
         access("/sys/kernel/mm", F_OK) != 0);
}

void Files() {
  EXPECT(Text(open("/sys/bus/pci/devices/0000:00:02.0/vendor", O_RDONLY)) ==
         "0x1234\n");
  EXPECT(chdir("/sys/bus/pci/devices/0000:00:02.0") == 0);
  EXPECT(Text(open("device", O_RDONLY)) == "0x11e8\n");
  EXPECT(Text(open("../../pci0000:01/0000:01:00.0/vendor", O_RDONLY)) ==
         "0x8086\n");
  char cwd[256];
  EXPECT(getcwd(cwd, sizeof(cwd)) == cwd);
  EXPECT(std::string(cwd) == "/sys/devices/pci0000:00/0000:00:02.0");
  EXPECT(access("config", R_OK | W_OK) == 0);
  EXPECT(chdir("/sys/bus") == 0);
  EXPECT(Text(open("pci/devices/0000:00:02.0/vendor", O_RDONLY)) == "0x1234\n");
  FILE* const stream = fopen("/sys/bus/pci/devices/0000:00:02.0/class", "r");
  EXPECT(stream != nullptr);
  char line[32];
  EXPECT(fgets(line, sizeof(line), stream) == line);
  EXPECT(strcmp(line, "0x00ff00\n") == 0);
  fclose(stream);
}

std::string Line(FILE* stream) {
  char line[256] = {};
  EXPECT(stream != nullptr && fgets(line, sizeof(line), stream) == line);
  fclose(stream);
  return line;
}

// What only the simulated kernel can answer, from a working directory that is a
// device's.
void Relative() {
  EXPECT(chdir("/sys/bus/pci/devices/0000:01:00.0") == 0);
  EXPECT(Line(fopen("driver_override", "r")) == "(null)\n");
  FILE* const written = fopen("driver_override", "w");
  EXPECT(written != nullptr && fputs("vfio-pci\n", written) >= 0);
  EXPECT(fclose(written) == 0);
  EXPECT(Line(fopen("./driver_override", "re")) == "vfio-pci\n");
  const int written_fd = open("driver_override", O_WRONLY | O_CREAT | O_TRUNC);
  EXPECT(write(written_fd, "\n", 1) == 1 && close(written_fd) == 0);
  struct stat status;
  EXPECT(stat("driver_override", &status) == 0 && status.st_size == 4096);
  EXPECT(Text(open("driver_override", O_RDONLY)) == "(null)\n");
  EXPECT(open("nothing", O_WRONLY | O_CREAT, 0600) == -1 && errno == EACCES);
  EXPECT(open("nothing/x", O_WRONLY | O_CREAT, 0600) == -1 && errno == ENOENT);
  EXPECT(chdir("..") == 0);
  EXPECT(Line(fopen("0000:01:00.0/driver_override", "r")) == "(null)\n");
  const int directory = open("0000:01:00.0", O_RDONLY | O_DIRECTORY);
  EXPECT(Text(openat(directory, "driver_override", O_RDONLY | O_CREAT)) ==
         "(null)\n");
  close(directory);
  // As the library of C++ reads it.
  EXPECT(chdir("0000:01:00.0") == 0);
  std::string words;
  EXPECT(std::getline(std::ifstream("driver_override"), words));
  EXPECT(words == "(null)");
  char id[4];
  EXPECT(std::ifstream("config", std::ios::binary).read(id, 4));
  EXPECT(memcmp(id, "\x86\x80\xd3\x10", 4) == 0);
  EXPECT(chdir("/") == 0);
}

void Links() {
  const char* const device = "/sys/bus/pci/devices/0000:00:02.0";
  EXPECT(Link(device) == "../../../devices/pci0000:00/0000:00:02.0");
  EXPECT(Link("/sys/bus/pci/devices/0000:00:02.0/driver") ==
         "../../../bus/pci/drivers/vfio-pci");
  char* const real = realpath(device, nullptr);
  EXPECT(real != nullptr &&
         std::string(real) == "/sys/devices/pci0000:00/0000:00:02.0");
  free(real);
  char* const group =
      realpath("/sys/bus/pci/devices/0000:00:02.0/iommu_group", nullptr);
  EXPECT(group != nullptr &&
         std::string(group) == "/sys/kernel/iommu_groups/3");
  free(group);
  EXPECT(access("/sys/bus/pci/devices/0000:01:00.0/driver", F_OK) == -1 &&
         errno == ENOENT);
}

void Status() {
  struct stat status;
  EXPECT(lstat("/sys/bus/pci/devices/0000:00:02.0", &status) == 0 &&
         S_ISLNK(status.st_mode));
  EXPECT(stat("/sys/bus/pci/devices/0000:00:02.0", &status) == 0 &&
         S_ISDIR(status.st_mode));
  EXPECT(stat("/sys/bus/pci/devices/0000:00:02.0/config", &status) == 0 &&
         status.st_mode == (S_IFREG | 0644) && status.st_size == 256);
  EXPECT(stat("/dev/vfio/3", &status) == 0 && S_ISCHR(status.st_mode) &&
         minor(status.st_rdev) == 3);
  struct statx extended;
  EXPECT(statx(AT_FDCWD, "/dev/vfio/vfio", 0, STATX_BASIC_STATS, &extended) ==
             0 &&
         S_ISCHR(extended.stx_mode) && extended.stx_rdev_minor == 196);
  const int directory = open("/dev/vfio", O_RDONLY | O_DIRECTORY);
  EXPECT(fstatat(directory, "vfio", &status, 0) == 0 &&
         S_ISCHR(status.st_mode));
  EXPECT(faccessat(directory, "3", R_OK | W_OK, 0) == 0);
  EXPECT(openat(directory, "3", O_RDWR) >= 0);
  EXPECT(open("/dev/iommu", O_RDWR) == -1 && errno == ENOENT);
  EXPECT(open("/dev/kvm", O_RDWR) == -1 && errno == ENOENT);
}

// The configuration space in sysfs is the device's.
void Config() {
  const int fd =
      open("/sys/bus/pci/devices/0000:00:02.0/config", O_RDWR | O_CLOEXEC);
  EXPECT(fd >= 0);
  uint32_t id = 0;
  EXPECT(pread(fd, &id, 4, 0) == 4 && id == 0x11e81234);
  EXPECT(lseek(fd, 2, SEEK_SET) == 2);
  uint16_t device = 0;
  EXPECT(read(fd, &device, 2) == 2 && device == 0x11e8);
  EXPECT(lseek(fd, 0, SEEK_CUR) == 4);
  EXPECT(lseek(fd, 0, SEEK_END) == 256);
  EXPECT(read(fd, &device, 2) == 0);
  struct stat status;
  EXPECT(fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
         status.st_size == 256);
  const uint8_t line = 0x55;
  EXPECT(pwrite(fd, &line, 1, 0x3c) == 1);
  FILE* const stream = fopen("/sys/bus/pci/devices/0000:00:02.0/config", "rb");
  EXPECT(stream != nullptr && fseek(stream, 0x3c, SEEK_SET) == 0);
  EXPECT(fgetc(stream) == line);
  fclose(stream);
  close(fd);
}

}  // namespace
}  // namespace client

int main() {
  client::Directories();
  client::Files();
  client::Relative();
  client::Links();
  client::Status();
  client::Config();
  return 0;
}
