// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/paths.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "testing/preload/client.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

// Returns whether the path is the folder or inside.
bool IsIn(const char* path, const char* folder) {
  const size_t length = strlen(folder);
  return strncmp(path, folder, length) == 0 &&
         (path[length] == 0 || path[length] == '/');
}

// Returns whether this is the program that loads modules, for which the
// launcher has another one (SysfsTree::AddPrograms()).
bool IsModprobe(const char* path) {
  if (strncmp(path, "/usr/", 5) == 0) path += 4;
  return strcmp(path, "/sbin/modprobe") == 0 ||
         strcmp(path, "/bin/modprobe") == 0;
}

bool BelongsToTree(const char* path) {
  if (IsModprobe(path)) return true;
  if (strncmp(path, "/dev/", 5) == 0) {
    return IsIn(path, "/dev/vfio") || IsIn(path, "/dev/iommu") ||
           (KvmIsSimulated() && IsIn(path, "/dev/kvm"));
  }
  if (strncmp(path, "/sys/", 5) != 0) return false;
  return IsIn(path, "/sys/bus/pci") || IsIn(path, "/sys/kernel/iommu_groups") ||
         strncmp(path, "/sys/devices/pci", 16) == 0 ||
         IsIn(path, "/sys/module") || IsIn(path, "/sys/class/vfio-dev") ||
         IsIn(path, "/sys/class/iommu");
}

// Writes the path without empty and "." components. Returns false if it has no
// room.
bool Normalize(const char* path, char* to, size_t room) {
  size_t length = 0;
  while (*path != 0) {
    while (*path == '/') ++path;
    const size_t name = strcspn(path, "/");
    if (name == 0) break;
    if (name != 1 || path[0] != '.') {
      if (length + name + 2 > room) return false;
      to[length++] = '/';
      memcpy(to + length, path, name);
      length += name;
    }
    path += name;
    // A slash at the end says that the path must be a directory.
    if (path[0] == '/' && path[strspn(path, "/")] == 0) {
      if (length + 2 > room) return false;
      to[length++] = '/';
    }
  }
  to[length] = 0;
  return true;
}

uint64_t DeviceOf(const char* path) {
  struct stat status;
  return Raw(SYS_newfstatat, AT_FDCWD, AsLong(path), AsLong(&status), 0) == 0
             ? status.st_dev
             : 0;
}

// Writes the path of a directory of the real /sys or /dev, or of the tree, from
// which a relative path may lead into the tree. Returns its length, or 0 for
// other directories.
size_t DirectoryNear(int directory, char* to, size_t room) {
  static const uint64_t sys = DeviceOf("/sys");
  static const uint64_t dev = DeviceOf("/dev");
  struct stat status;
  const long result =
      directory == AT_FDCWD
          ? Raw(SYS_newfstatat, AT_FDCWD, AsLong("."), AsLong(&status), 0)
          : Raw(SYS_fstat, directory, AsLong(&status));
  if (result != 0 || (status.st_dev != sys && status.st_dev != dev &&
                      status.st_dev != FolderDevice())) {
    return 0;
  }
  char link[32] = "/proc/self/cwd";
  if (directory != AT_FDCWD) {
    char* end = link + strlen(strcpy(link, "/proc/self/fd/"));
    char digits[12];
    int count = 0;
    for (int rest = directory; count == 0 || rest > 0; rest /= 10) {
      digits[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) *end++ = digits[--count];
    *end = 0;
  }
  const long length =
      Raw(SYS_readlinkat, AT_FDCWD, AsLong(link), AsLong(to), room);
  return length <= 0 || static_cast<size_t>(length) >= room
             ? 0
             : static_cast<size_t>(length);
}

}  // namespace

Path::Path(int directory, const char* path) : path_(path) {
  if (path == nullptr || path[0] == 0 || Folder() == nullptr) return;
  if (path[0] == '/') {
    Translate(path);
    Tell();
    return;
  }
  char whole[kLongestPath];
  const size_t length = DirectoryNear(directory, whole, sizeof(whole));
  const size_t rest = strlen(path);
  if (length == 0 || length + rest + 2 > sizeof(whole)) return;
  whole[length] = '/';
  memcpy(whole + length + 1, path, rest + 1);
  if (strncmp(whole, Folder(), FolderLength()) == 0 &&
      whole[FolderLength()] == '/') {
    // It is in the tree already.
    memcpy(buffer_, whole, length + rest + 2);
    path_ = buffer_;
    return;
  }
  Translate(whole);
  Tell();
}

void Path::Tell() const {
  if (!translated() || !Watches(Reply::kWatchesPaths)) return;
  const char* const path = path_ + FolderLength();
  if (strncmp(path, "/sys/", 5) != 0) return;
  Request request;
  request.kind = Kind::kPath;
  Call(request, nullptr, path);
}

bool Path::Translate(const char* path) {
  // Most paths end here.
  const char* const name = path + strspn(path, "/");
  if (strncmp(name, "sys", 3) != 0 && strncmp(name, "dev", 3) != 0 &&
      name[0] != '.' && strstr(name, "bin/modprobe") == nullptr) {
    return false;
  }
  const size_t length = FolderLength();
  if (!Normalize(path, buffer_ + length, sizeof(buffer_) - length) ||
      !BelongsToTree(buffer_ + length)) {
    return false;
  }
  memcpy(buffer_, Folder(), length);
  path_ = buffer_;
  return true;
}

size_t ShowPath(char* path, size_t length) {
  const char* const folder = Folder();
  const size_t prefix = FolderLength();
  if (folder == nullptr || length <= prefix ||
      strncmp(path, folder, prefix) != 0 || path[prefix] != '/') {
    return length;
  }
  memmove(path, path + prefix, length - prefix);
  return length - prefix;
}

bool IsLive(const struct stat& status) {
  return Folder() != nullptr && status.st_dev == FolderDevice() &&
         S_ISREG(status.st_mode) && (status.st_mode & kLiveBit) != 0;
}

void ShowStatus(struct stat& status) {
  if (!IsLive(status)) return;
  const mode_t permissions = status.st_mode & 0777;
  if ((status.st_mode & kDeviceBit) == 0) {
    status.st_mode = S_IFREG | permissions;
    return;
  }
  status.st_mode = S_IFCHR | permissions;
  status.st_rdev = makedev(static_cast<unsigned>(status.st_size >> 20),
                           static_cast<unsigned>(status.st_size & 0xfffff));
  status.st_size = 0;
}

}  // namespace passthru::preload
