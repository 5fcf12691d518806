// SPDX-License-Identifier: Apache-2.0
//
// The calls that take a path, but for those that open it.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <system_error>

#include "testing/preload/client.h"
#include "testing/preload/files.h"
#include "testing/preload/lock.h"
#include "testing/preload/paths.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

// Fills in what the launcher says of one of its files.
bool StatOurs(int fd, struct stat* status, char* name = nullptr) {
  Request request;
  if (!IsOurs(fd, &request)) return false;
  request.kind = Kind::kStat;
  Reply reply;
  if (Call(request, &reply) < 0) return false;
  if (status != nullptr) {
    status->st_mode = static_cast<mode_t>(reply.argument[0]);
    status->st_rdev = static_cast<dev_t>(reply.argument[1]);
    status->st_size = static_cast<off_t>(reply.argument[2]);
  }
  if (name != nullptr) {
    memcpy(name, reply.data, sizeof(reply.data));
    name[sizeof(reply.data) - 1] = 0;
  }
  return true;
}

long StatAt(int directory, const char* name, struct stat* status, int flags) {
  if ((flags & AT_EMPTY_PATH) != 0 && name != nullptr && name[0] == 0) {
    const long result =
        Raw(SYS_newfstatat, directory, AsLong(name), AsLong(status), flags);
    if (result == 0) StatOurs(directory, status);
    return result;
  }
  const Path path(directory, name);
  const long result =
      Raw(SYS_newfstatat, directory, AsLong(path.get()), AsLong(status), flags);
  if (result == 0) ShowStatus(*status);
  return result;
}

// The descriptor of a path like /proc/self/fd/7, or -1.
int DescriptorNamed(const char* path) {
  static constexpr char kSelf[] = "/proc/self/fd/";
  if (strncmp(path, kSelf, sizeof(kSelf) - 1) != 0) return -1;
  const char* const digits = path + sizeof(kSelf) - 1;
  const char* const end = digits + strlen(digits);
  int fd = -1;
  // strtol() would need a glibc as new as the one that this is compiled with.
  const std::from_chars_result result = std::from_chars(digits, end, fd);
  return result.ec == std::errc() && result.ptr == end && fd >= 0 ? fd : -1;
}

long ReadLink(int directory, const char* name, char* buffer, size_t size) {
  const Path path(directory, name);
  char target[kLongestPath];
  long length = Raw(SYS_readlinkat, directory, AsLong(path.get()),
                    AsLong(target), sizeof(target));
  if (length < 0) return length;
  char shown[kLargestAccess];
  if (length > 5 && memcmp(target, "pipe:", 5) == 0 && name[0] == '/' &&
      StatOurs(DescriptorNamed(name), nullptr, shown)) {
    length = static_cast<long>(strlen(shown));
    memcpy(target, shown, static_cast<size_t>(length));
  }
  length = static_cast<long>(ShowPath(target, static_cast<size_t>(length)));
  if (size == 0) return -EINVAL;
  if (static_cast<size_t>(length) > size) length = static_cast<long>(size);
  memcpy(buffer, target, static_cast<size_t>(length));
  return length;
}

char* Shown(char* path) {
  if (path != nullptr) path[ShowPath(path, strlen(path))] = 0;
  return path;
}

// A stream of a file of the launcher, in a list for fileno(3).
struct LiveStream {
  int fd;
  FILE* stream;
  LiveStream* next;
};
LiveStream* live_streams;
int streams_lock;

// Returns the descriptor of a stream of this list, or -1.
int DescriptorOf(const FILE* stream) {
  if (__atomic_load_n(&live_streams, __ATOMIC_ACQUIRE) == nullptr) return -1;
  const Locked locked(&streams_lock);
  for (const LiveStream* at = live_streams; at != nullptr; at = at->next) {
    if (at->stream == stream) return at->fd;
  }
  return -1;
}

ssize_t ReadStream(void* cookie, char* buffer, size_t size) {
  return read(static_cast<LiveStream*>(cookie)->fd, buffer, size);
}

ssize_t WriteStream(void* cookie, const char* buffer, size_t size) {
  return write(static_cast<LiveStream*>(cookie)->fd, buffer, size);
}

int SeekStream(void* cookie, off64_t* offset, int whence) {
  const off_t at = lseek(static_cast<LiveStream*>(cookie)->fd, *offset, whence);
  if (at < 0) return -1;
  *offset = at;
  return 0;
}

int CloseStream(void* cookie) {
  {
    const Locked locked(&streams_lock);
    LiveStream** at = &live_streams;
    while (*at != cookie) at = &(*at)->next;
    *at = (*at)->next;
  }
  const int result = close(static_cast<LiveStream*>(cookie)->fd);
  free(cookie);
  return result;
}

// The C library reads a stream's descriptor past this library, so a file of the
// launcher gets a stream that calls back.
FILE* OpenStream(int fd, const char* mode) {
  auto* const cookie = static_cast<LiveStream*>(malloc(sizeof(LiveStream)));
  if (cookie == nullptr) return nullptr;
  cookie->fd = fd;
  cookie->stream = fopencookie(
      cookie, mode, {ReadStream, WriteStream, SeekStream, CloseStream});
  if (cookie->stream == nullptr) {
    free(cookie);
    return nullptr;
  }
  const Locked locked(&streams_lock);
  cookie->next = live_streams;
  __atomic_store_n(&live_streams, cookie, __ATOMIC_RELEASE);
  return cookie->stream;
}

int OpenFlags(const char* mode) {
  int flags = mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  for (const char* c = mode + 1; *c != 0 && *c != ','; ++c) {
    if (*c == '+') flags = O_RDWR;
    if (*c == 'e') flags |= O_CLOEXEC;
  }
  return flags;
}

}  // namespace

void ForgetStreamsLock() { streams_lock = 0; }

INTERPOSE(int, stat, const char* path, struct stat* status) {
  return static_cast<int>(Return(StatAt(AT_FDCWD, path, status, 0)));
}
ALSO_AS(stat, stat64);

INTERPOSE(int, lstat, const char* path, struct stat* status) {
  return static_cast<int>(
      Return(StatAt(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW)));
}
ALSO_AS(lstat, lstat64);

INTERPOSE(int, fstatat, int directory, const char* path, struct stat* status,
          int flags) {
  return static_cast<int>(Return(StatAt(directory, path, status, flags)));
}
ALSO_AS(fstatat, fstatat64);

INTERPOSE(int, fstat, int fd, struct stat* status) {
  const long result = Raw(SYS_fstat, fd, AsLong(status));
  if (result == 0 && !StatOurs(fd, status)) ShowStatus(*status);
  return static_cast<int>(Return(result));
}
ALSO_AS(fstat, fstat64);

// Programs that were linked before glibc 2.33 call these.
INTERPOSE(int, __xstat, int, const char* path, struct stat* status) {
  return passthru_stat(path, status);
}
ALSO_AS(__xstat, __xstat64);

INTERPOSE(int, __lxstat, int, const char* path, struct stat* status) {
  return passthru_lstat(path, status);
}
ALSO_AS(__lxstat, __lxstat64);

INTERPOSE(int, __fxstat, int, int fd, struct stat* status) {
  return passthru_fstat(fd, status);
}
ALSO_AS(__fxstat, __fxstat64);

INTERPOSE(int, __fxstatat, int, int directory, const char* path,
          struct stat* status, int flags) {
  return passthru_fstatat(directory, path, status, flags);
}
ALSO_AS(__fxstatat, __fxstatat64);

INTERPOSE(int, statx, int directory, const char* name, int flags, unsigned mask,
          struct statx* status) {
  const Path path(directory, name);
  const long result = Raw(SYS_statx, directory, AsLong(path.get()), flags, mask,
                          AsLong(status));
  if (result != 0) return static_cast<int>(Return(result));
  struct stat shown = {};
  shown.st_dev = makedev(status->stx_dev_major, status->stx_dev_minor);
  shown.st_mode = status->stx_mode;
  shown.st_size = static_cast<off_t>(status->stx_size);
  const bool ours = (flags & AT_EMPTY_PATH) != 0 && name[0] == 0 &&
                    StatOurs(directory, &shown);
  if (!ours && !IsLive(shown)) return 0;
  ShowStatus(shown);
  status->stx_mode = static_cast<uint16_t>(shown.st_mode);
  status->stx_size = static_cast<uint64_t>(shown.st_size);
  status->stx_rdev_major = major(shown.st_rdev);
  status->stx_rdev_minor = minor(shown.st_rdev);
  return 0;
}

INTERPOSE(int, faccessat, int directory, const char* name, int mode,
          int flags) {
  const Path path(directory, name);
  if (!path.translated()) return NEXT(faccessat)(directory, name, mode, flags);
  return static_cast<int>(
      Return(Raw(SYS_faccessat, directory, AsLong(path.get()), mode)));
}

INTERPOSE(int, access, const char* name, int mode) {
  const Path path(AT_FDCWD, name);
  return static_cast<int>(
      Return(Raw(SYS_faccessat, AT_FDCWD, AsLong(path.get()), mode)));
}

INTERPOSE(int, euidaccess, const char* name, int mode) {
  const Path path(AT_FDCWD, name);
  return NEXT(euidaccess)(path.get(), mode);
}
ALSO_AS(euidaccess, eaccess);

INTERPOSE(ssize_t, readlinkat, int directory, const char* path, char* buffer,
          size_t size) {
  return Return(ReadLink(directory, path, buffer, size));
}

INTERPOSE(ssize_t, readlink, const char* path, char* buffer, size_t size) {
  return Return(ReadLink(AT_FDCWD, path, buffer, size));
}

INTERPOSE(ssize_t, __readlink_chk, const char* path, char* buffer, size_t size,
          size_t room) {
  if (size > room) __builtin_trap();
  return Return(ReadLink(AT_FDCWD, path, buffer, size));
}

INTERPOSE(ssize_t, __readlinkat_chk, int directory, const char* path,
          char* buffer, size_t size, size_t room) {
  if (size > room) __builtin_trap();
  return Return(ReadLink(directory, path, buffer, size));
}

INTERPOSE(char*, realpath, const char* name, char* resolved) {
  const Path path(AT_FDCWD, name);
  return Shown(NEXT(realpath)(path.get(), resolved));
}

INTERPOSE(char*, __realpath_chk, const char* name, char* resolved,
          size_t room) {
  if (room < PATH_MAX) __builtin_trap();
  return passthru_realpath(name, resolved);
}

INTERPOSE(char*, canonicalize_file_name, const char* name) {
  return passthru_realpath(name, nullptr);
}

INTERPOSE(int, chdir, const char* name) {
  const Path path(AT_FDCWD, name);
  return static_cast<int>(Return(Raw(SYS_chdir, AsLong(path.get()))));
}

INTERPOSE(char*, getcwd, char* buffer, size_t size) {
  return Shown(NEXT(getcwd)(buffer, size));
}

INTERPOSE(char*, __getcwd_chk, char* buffer, size_t size, size_t room) {
  if (size > room) __builtin_trap();
  return passthru_getcwd(buffer, size);
}

INTERPOSE(char*, get_current_dir_name, void) {
  return passthru_getcwd(nullptr, 0);
}

INTERPOSE(DIR*, opendir, const char* name) {
  const Path path(AT_FDCWD, name);
  return NEXT(opendir)(path.get());
}

INTERPOSE(int, scandir, const char* name, dirent*** list,
          int (*filter)(const dirent*),
          int (*compare)(const dirent**, const dirent**)) {
  const Path path(AT_FDCWD, name);
  return NEXT(scandir)(path.get(), list, filter, compare);
}
ALSO_AS(scandir, scandir64);

INTERPOSE(int, scandirat, int directory, const char* name, dirent*** list,
          int (*filter)(const dirent*),
          int (*compare)(const dirent**, const dirent**)) {
  const Path path(directory, name);
  return NEXT(scandirat)(directory, path.get(), list, filter, compare);
}
ALSO_AS(scandirat, scandirat64);

INTERPOSE(int, inotify_add_watch, int fd, const char* name, uint32_t mask) {
  const Path path(AT_FDCWD, name);
  return static_cast<int>(
      Return(Raw(SYS_inotify_add_watch, fd, AsLong(path.get()), mask)));
}

// `ls -l` asks for access control lists.
INTERPOSE(ssize_t, getxattr, const char* name, const char* attribute,
          void* value, size_t size) {
  const Path path(AT_FDCWD, name);
  return Return(Raw(SYS_getxattr, AsLong(path.get()), AsLong(attribute),
                    AsLong(value), static_cast<long>(size)));
}

INTERPOSE(ssize_t, lgetxattr, const char* name, const char* attribute,
          void* value, size_t size) {
  const Path path(AT_FDCWD, name);
  return Return(Raw(SYS_lgetxattr, AsLong(path.get()), AsLong(attribute),
                    AsLong(value), static_cast<long>(size)));
}

INTERPOSE(ssize_t, listxattr, const char* name, char* list, size_t size) {
  const Path path(AT_FDCWD, name);
  return Return(Raw(SYS_listxattr, AsLong(path.get()), AsLong(list),
                    static_cast<long>(size)));
}

INTERPOSE(ssize_t, llistxattr, const char* name, char* list, size_t size) {
  const Path path(AT_FDCWD, name);
  return Return(Raw(SYS_llistxattr, AsLong(path.get()), AsLong(list),
                    static_cast<long>(size)));
}

INTERPOSE(FILE*, fopen, const char* name, const char* mode) {
  const Path path(AT_FDCWD, name);
  if (!path.translated()) return NEXT(fopen)(name, mode);
  const long fd = OpenAt(AT_FDCWD, name, OpenFlags(mode), 0);
  if (fd < 0) {
    errno = static_cast<int>(-fd);
    return nullptr;
  }
  FILE* const stream = IsOurs(static_cast<int>(fd))
                           ? OpenStream(static_cast<int>(fd), mode)
                           : fdopen(static_cast<int>(fd), mode);
  if (stream == nullptr) close(static_cast<int>(fd));
  return stream;
}
ALSO_AS(fopen, fopen64);

INTERPOSE(FILE*, fdopen, int fd, const char* mode) {
  return IsOurs(fd) ? OpenStream(fd, mode) : NEXT(fdopen)(fd, mode);
}

// The streams of C++ read and write the descriptor themselves.
INTERPOSE(int, fileno, FILE* stream) {
  const int fd = DescriptorOf(stream);
  return fd >= 0 ? fd : NEXT(fileno)(stream);
}
ALSO_AS(fileno, fileno_unlocked);

}  // namespace passthru::preload
