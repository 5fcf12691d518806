// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/selftests/sysfs_answers.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace passthru::selftests {
namespace {

// Those that say something of the device, and not of the machine.
constexpr const char* kContents[] = {"vendor",
                                     "device",
                                     "subsystem_vendor",
                                     "subsystem_device",
                                     "class",
                                     "revision",
                                     "modalias",
                                     "uevent",
                                     "reset_method",
                                     "enable",
                                     "broken_parity_status",
                                     "driver_override",
                                     "msi_bus",
                                     "d3cold_allowed",
                                     "power_state",
                                     "ari_enabled",
                                     "current_link_speed",
                                     "current_link_width",
                                     "max_link_speed",
                                     "max_link_width",
                                     "numa_node",
                                     "sriov_totalvfs",
                                     "sriov_numvfs",
                                     "sriov_offset",
                                     "sriov_stride",
                                     "sriov_vf_device",
                                     "sriov_vf_total_msix",
                                     "sriov_drivers_autoprobe"};

struct Write {
  const char* file;
  const char* text;
};
// None of these changes anything but what a later one changes back.
constexpr Write kWrites[] = {{"sriov_numvfs", "0"},
                             {"sriov_numvfs", "1"},
                             {"sriov_numvfs", "9"},
                             {"sriov_numvfs", "65536"},
                             {"sriov_numvfs", "x"},
                             {"sriov_numvfs", "-1"},
                             {"sriov_totalvfs", "1"},
                             {"sriov_drivers_autoprobe", "2"},
                             {"sriov_drivers_autoprobe", "1"},
                             {"driver_override", "none"},
                             {"driver_override", "\n"},
                             {"enable", "0"},
                             {"enable", "x"},
                             {"reset", "0"},
                             {"reset", "x"},
                             {"reset", "2"},
                             {"remove", "0"},
                             {"remove", "x"},
                             {"rescan", "0"},
                             {"rescan", "x"},
                             {"vendor", "1"}};

std::string ErrorName(int error) {
  const char* const name = ::strerrorname_np(error);
  return name == nullptr ? absl::StrCat(error) : name;
}

std::string InOneWord(const std::string& text) {
  return absl::StrReplaceAll(text, {{" ", "_"}, {"\n", "|"}});
}

// The number of a device depends on the order of binding.
std::string WithoutNumber(const std::string& name) {
  return absl::StartsWith(name, "vfio") && name != "vfio-dev" ? "vfio#" : name;
}

std::set<std::string> NamesIn(const std::string& folder) {
  std::set<std::string> names;
  DIR* const directory = ::opendir(folder.c_str());
  if (directory == nullptr) return names;
  while (const dirent* const entry = ::readdir(directory)) {
    if (std::strcmp(entry->d_name, ".") != 0 &&
        std::strcmp(entry->d_name, "..") != 0) {
      names.insert(entry->d_name);
    }
  }
  ::closedir(directory);
  return names;
}

std::string KindOf(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) return ErrorName(errno);
  if (S_ISDIR(status.st_mode)) return "directory";
  if (S_ISLNK(status.st_mode)) return "link";
  return absl::StrFormat("%04o,%d", status.st_mode & 07777,
                         static_cast<long>(status.st_size));
}

std::string ContentsOf(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrorName(errno);
  char buffer[4096];
  const ssize_t length = ::read(fd, buffer, sizeof(buffer));
  const int error = errno;
  ::close(fd);
  return length < 0 ? ErrorName(error) : InOneWord({buffer, buffer + length});
}

std::string AnswerTo(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return absl::StrCat("open:", ErrorName(errno));
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = errno;
  ::close(fd);
  return written < 0 ? ErrorName(error) : absl::StrCat(written);
}

}  // namespace

std::vector<Result> AskSysfs(const std::string& bdf) {
  const std::string folder = absl::StrCat("/sys/bus/pci/devices/", bdf, "/");
  std::vector<Result> answers;
  for (const std::string& name : NamesIn(folder)) {
    answers.push_back({name, KindOf(folder + name)});
  }
  for (const std::string& device : NamesIn(folder + "vfio-dev")) {
    answers.push_back({absl::StrCat("vfio-dev/", WithoutNumber(device)),
                       KindOf(folder + "vfio-dev/" + device)});
    for (const std::string& name : NamesIn(folder + "vfio-dev/" + device)) {
      const std::string path = absl::StrCat("vfio-dev/", device, "/", name);
      answers.push_back({absl::StrCat("vfio-dev/#/", name),
                         KindOf(absl::StrCat(folder, path))});
    }
    answers.push_back({"vfio-dev/#/uevent-text",
                       ContentsOf(folder + "vfio-dev/" + device + "/uevent")});
    answers.push_back(
        {"class/vfio-dev", KindOf("/sys/class/vfio-dev/" + device)});
  }
  for (const char* const name : kContents) {
    answers.push_back({absl::StrCat("read:", name), ContentsOf(folder + name)});
  }
  for (const Write& write : kWrites) {
    answers.push_back(
        {absl::StrCat("write:", write.file, ":", InOneWord(write.text)),
         AnswerTo(folder + write.file, write.text)});
  }
  return answers;
}

}  // namespace passthru::selftests
