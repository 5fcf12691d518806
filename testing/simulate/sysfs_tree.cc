// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/simulate/sysfs_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/preload/protocol.h"

namespace passthru::simulate {
namespace {

using Entry = fake::FakeSysfs::Entry;
using Type = fake::FakeSysfs::Type;

// The majors of misc devices (linux/major.h), and one of those that Linux gives
// to drivers that ask for any (VFIO's groups).
constexpr unsigned kMiscMajor = 10;
constexpr unsigned kGroupMajor = 511;
constexpr unsigned kVfioMinor = 196;        // VFIO_MINOR of linux/miscdevice.h.
constexpr uint64_t kAttributeBytes = 4096;  // What Linux shows of all.
constexpr unsigned kKvmMinor = 232;         // KVM_MINOR.

uint64_t DeviceNumber(std::string_view path) {
  unsigned group = 0;
  if (path == "/dev/kvm") return preload::DeviceSize(kMiscMajor, kKvmMinor);
  if (absl::SimpleAtoi(path.substr(path.rfind('/') + 1), &group)) {
    return preload::DeviceSize(kGroupMajor, group);
  }
  return preload::DeviceSize(kMiscMajor, kVfioMinor);
}

absl::Status MakeFile(const std::string& path, uint64_t size, mode_t mode,
                      std::string_view text = "") {
  ::unlink(path.c_str());
  const int fd =
      ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  bool good = fd >= 0;
  good = good && ::write(fd, text.data(), text.size()) ==
                     static_cast<ssize_t>(text.size());
  good = good && ::ftruncate(fd, static_cast<off_t>(size)) == 0;
  good = good && ::fchmod(fd, mode) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  return good ? absl::OkStatus() : kernel::ErrnoError(error, path);
}

bool SameNode(const Entry& a, const Entry& b) {
  return a.type == b.type && a.text == b.text && a.size == b.size;
}

}  // namespace

absl::Status SysfsTree::Make(const Entry& node) {
  const std::string path = folder_ + node.path;
  switch (node.type) {
    case Type::kDirectory:
      if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) break;
      return kernel::ErrnoError(errno, path);
    case Type::kLink:
      ::unlink(path.c_str());
      if (::symlink(node.text.c_str(), path.c_str()) == 0) break;
      return kernel::ErrnoError(errno, path);
    case Type::kText:
      return MakeFile(path, kAttributeBytes, 0444 | preload::kLiveBit);
    case Type::kAttribute:
      return MakeFile(path, kAttributeBytes,
                      (node.readable ? 0444 : 0) | (node.writable ? 0200 : 0) |
                          preload::kLiveBit);
    case Type::kBinary:
      return MakeFile(path, node.size, 0644 | preload::kLiveBit);
    case Type::kCharacterDevice:
      return MakeFile(path, DeviceNumber(node.path),
                      0666 | preload::kLiveBit | preload::kDeviceBit);
  }
  return absl::OkStatus();
}

absl::Status SysfsTree::Update(const std::vector<Entry>& nodes) {
  std::map<std::string, Entry> wanted;
  for (const Entry& node : nodes) wanted[node.path] = node;
  // From the last on, so that folders are empty when they go.
  std::error_code ignored;
  for (auto old = shown_.rbegin(); old != shown_.rend(); ++old) {
    const auto still = wanted.find(old->first);
    if (still == wanted.end() || still->second.type != old->second.type) {
      std::filesystem::remove(folder_ + old->first, ignored);
    }
  }
  const bool first = shown_.empty();
  for (const auto& [path, node] : wanted) {
    const auto old = shown_.find(path);
    if (old != shown_.end() && SameNode(old->second, node)) continue;
    PASSTHRU_RETURN_IF_ERROR(Make(node));
  }
  shown_ = std::move(wanted);
  if (!first) return absl::OkStatus();
  for (const char* const directory :
       {"/sys", "/sys/bus", "/sys/class", "/sys/kernel", "/sys/devices",
        "/sys/module"}) {
    PASSTHRU_RETURN_IF_ERROR(LinkRest(directory));
  }
  return absl::OkStatus();
}

absl::Status SysfsTree::LinkRest(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::create_directories(folder_ + directory, error);
  for (const fs::directory_entry& entry :
       fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const std::string link = absl::StrCat(folder_, directory, "/", name);
    // Neither VFIO nor the buses of this machine are the simulated one's.
    if (absl::StartsWith(name, "vfio") && directory == "/sys/module") continue;
    if (absl::StartsWith(name, "pci") && directory == "/sys/devices") continue;
    struct stat status;
    if (::lstat(link.c_str(), &status) == 0) continue;
    const fs::path target = fs::canonical(entry.path(), error);
    if (error) continue;
    if (::symlink(target.c_str(), link.c_str()) != 0) {
      return kernel::ErrnoError(errno, link);
    }
  }
  return absl::OkStatus();
}

absl::Status SysfsTree::AddPrograms() {
  // The simulated kernel has its modules loaded, under names with "_". All
  // others are the machine's, whose program has a path that is not translated.
  // Without -a the first name is the module, and its parameters follow.
  constexpr char kModprobe[] = R"script(#!/bin/sh
all= options= missing=
for word; do
  case $word in
    -a | --all) all=yes options="$options $word" ;;
    -*) options="$options $word" ;;
  esac
done
for name; do
  case $name in -*) continue ;; esac
  [ -d "/sys/module/$(echo "$name" | tr - _)" ] || missing="$missing $name"
  [ "$all" ] || break
done
[ "$missing" ] || exit 0
[ "$all" ] && set -- $options $missing
for program in /usr/sbin/../sbin/modprobe /sbin/../sbin/modprobe; do
  [ -x "$program" ] && exec "$program" "$@"
done
case $options in
  *-q*) ;;
  *) echo "modprobe: the simulated kernel has no module$missing" >&2 ;;
esac
exit 1
)script";
  for (const char* const directory :
       {"/sbin", "/bin", "/usr/sbin", "/usr/bin"}) {
    std::error_code error;
    std::filesystem::create_directories(folder_ + directory, error);
    PASSTHRU_RETURN_IF_ERROR(
        MakeFile(absl::StrCat(folder_, directory, "/modprobe"),
                 sizeof(kModprobe) - 1, 0755, kModprobe));
  }
  return absl::OkStatus();
}

absl::Status SysfsTree::AddHostDevices() {
  namespace fs = std::filesystem;
  for (const char* const directory :
       {"/sys/bus/pci", "/sys/bus/pci/devices", "/sys/bus/pci/drivers",
        "/sys/kernel/iommu_groups", "/dev/vfio"}) {
    PASSTHRU_RETURN_IF_ERROR(LinkRest(directory));
  }
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::directory_iterator("/sys/devices", error)) {
    if (absl::StartsWith(entry.path().filename().string(), "pci")) {
      PASSTHRU_RETURN_IF_ERROR(LinkRest(entry.path().string()));
    }
  }
  return absl::OkStatus();
}

}  // namespace passthru::simulate
