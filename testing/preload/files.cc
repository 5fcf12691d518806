// SPDX-License-Identifier: Apache-2.0
//
// The calls that make, use and close descriptors.
#include "testing/preload/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "testing/preload/client.h"
#include "testing/preload/kvm_vfio.h"
#include "testing/preload/paths.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

// The ioctls that make a file (linux/vfio.h, linux/kvm.h).
constexpr unsigned long kGroupGetDeviceFd = _IO(';', 106);
constexpr unsigned long kKvmCreateVm = _IO(0xae, 0x01);
constexpr unsigned long kKvmCreateVcpu = _IO(0xae, 0x41);
constexpr unsigned long kKvmCreateDevice = _IOWR(0xae, 0xe0, uint32_t[3]);

// Reserves the number of a descriptor, as get_unused_fd_flags() does in the
// kernel before the file exists. Returns it, or minus an errno.
int Reserve() {
  return static_cast<int>(
      Raw(SYS_openat, AT_FDCWD, AsLong("/dev/null"), O_RDONLY | O_CLOEXEC));
}

// Makes a call whose result is a new file of the launcher.
long CallForFile(Request& request, const char* path, bool close_on_exec) {
  request.reserved_fd = Reserve();
  if (request.reserved_fd < 0) return request.reserved_fd;
  int received = -1;
  const long result = Call(request, nullptr, path, &received);
  if (received < 0) {
    // The program has no number left for a file that was sent.
    Raw(SYS_close, request.reserved_fd);
    return result < 0 ? result : -EMFILE;
  }
  Raw(SYS_dup3, received, request.reserved_fd, close_on_exec ? O_CLOEXEC : 0);
  Raw(SYS_close, received);
  return result;
}

bool IsEventfd(int fd) {
  char path[32];
  char target[32];
  DescriptorPath(fd, path);
  const long length = Raw(SYS_readlinkat, AT_FDCWD, AsLong(path),
                          AsLong(target), sizeof(target));
  return length == 20 && memcmp(target, "anon_inode:[eventfd]", 20) == 0;
}

// Returns whether the folder of a path exists. No file can be made in one of
// sysfs (lookup_open()).
bool HasFolder(const char* path) {
  char folder[kLongestPath];
  strcpy(folder, path);
  char* const slash = strrchr(folder, '/');
  if (slash != nullptr) *slash = 0;
  return Raw(SYS_faccessat, AT_FDCWD, AsLong(folder), F_OK) == 0;
}

// Opens what a file of the launcher's folder stands for. Returns the
// descriptor, or minus an errno.
long OpenLive(int placeholder, int flags) {
  char link[32];
  char path[kLongestPath];
  DescriptorPath(placeholder, link);
  long length = Raw(SYS_readlinkat, AT_FDCWD, AsLong(link), AsLong(path),
                    sizeof(path) - 1);
  Raw(SYS_close, placeholder);
  if (length < 0) return length;
  length = static_cast<long>(ShowPath(path, static_cast<size_t>(length)));
  path[length] = 0;
  Request request;
  request.kind = Kind::kOpen;
  request.argument[0] =
      static_cast<uint64_t>(flags & ~(O_CREAT | O_TRUNC | O_CLOEXEC));
  return CallForFile(request, path, (flags & O_CLOEXEC) != 0);
}

}  // namespace

void DescriptorPath(int fd, char* path) {
  char* end = path + strlen(strcpy(path, "/proc/self/fd/"));
  char digits[12];
  int count = 0;
  for (unsigned rest = static_cast<unsigned>(fd); count == 0 || rest > 0;
       rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  while (count > 0) *end++ = digits[--count];
  *end = 0;
}

long OpenAt(int directory, const char* name, int flags, unsigned mode) {
  const Path path(directory, name);
  const bool creates = path.translated() && (flags & O_CREAT) != 0;
  // What stands for a file of the launcher keeps its size.
  if (path.translated()) flags &= ~(O_CREAT | O_TRUNC);
  const long fd = Raw(SYS_openat, directory, AsLong(path.get()), flags, mode);
  if (fd == -ENOENT && creates && HasFolder(path.get())) return -EACCES;
  if (fd < 0 || (flags & (O_PATH | O_DIRECTORY)) != 0) return fd;
  struct stat status;
  if (Folder() == nullptr || Raw(SYS_fstat, fd, AsLong(&status)) != 0) {
    return fd;
  }
  return IsLive(status) ? OpenLive(static_cast<int>(fd), flags) : fd;
}

Closing::Closing(int fd) {
  ForgetKvmVfio(static_cast<unsigned>(fd), static_cast<unsigned>(fd));
  request_.kind = Kind::kClosed;
  told_ = IsOurs(fd, &request_) ||
          (Watches(Reply::kWatchesCloses) && IsEventfd(fd));
  request_.fd = fd;
}

void Closing::Done() {
  if (told_) Call(request_);
}

// Some calls take the mode, and va_arg() reads nonsense without harm if the
// caller gave none.
#define OPEN_MODE(last)                                                       \
  va_list arguments;                                                          \
  va_start(arguments, last);                                                  \
  const unsigned mode =                                                       \
      (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0; \
  va_end(arguments)

INTERPOSE(int, open, const char* path, int flags, ...) {
  OPEN_MODE(flags);
  return static_cast<int>(Return(OpenAt(AT_FDCWD, path, flags, mode)));
}
ALSO_AS(open, open64);
ALSO_AS(open, __open_2);
ALSO_AS(open, __open64_2);
ALSO_AS(open, __open);
ALSO_AS(open, __open64);

INTERPOSE(int, openat, int directory, const char* path, int flags, ...) {
  OPEN_MODE(flags);
  return static_cast<int>(Return(OpenAt(directory, path, flags, mode)));
}
ALSO_AS(openat, openat64);
ALSO_AS(openat, __openat_2);
ALSO_AS(openat, __openat64_2);

INTERPOSE(int, creat, const char* path, mode_t mode) {
  return static_cast<int>(
      Return(OpenAt(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)));
}
ALSO_AS(creat, creat64);

INTERPOSE(int, close, int fd) {
  if (IsConnection(fd)) {
    errno = EBADF;
    return -1;
  }
  Closing closing(fd);
  const int result = NEXT(close)(fd);
  closing.Done();
  return result;
}
ALSO_AS(close, __close);

INTERPOSE(int, dup3, int from, int to, int flags) {
  DropConnections(static_cast<unsigned>(to), static_cast<unsigned>(to));
  if (from == to)
    return static_cast<int>(Return(Raw(SYS_dup3, from, to, flags)));
  Closing closing(to);
  const long result = Raw(SYS_dup3, from, to, flags);
  if (result >= 0) closing.Done();
  return static_cast<int>(Return(result));
}

INTERPOSE(int, dup2, int from, int to) {
  if (from == to) {
    return static_cast<int>(
        Return(Raw(SYS_fcntl, from, F_GETFD) < 0 ? -EBADF : to));
  }
  return passthru_dup3(from, to, 0);
}
ALSO_AS(dup2, __dup2);

INTERPOSE(int, close_range, unsigned first, unsigned last, int flags) {
  DropConnections(first, last);
  // With CLOSE_RANGE_CLOEXEC they remain open.
  if (flags == 0) ForgetKvmVfio(first, last);
  const long result = Raw(SYS_close_range, first, last, flags);
  if (result == 0 && Folder() != nullptr) {
    Request request;
    request.kind = Kind::kClosed;
    Call(request);
  }
  return static_cast<int>(Return(result));
}

INTERPOSE(void, closefrom, int first) {
  passthru_close_range(static_cast<unsigned>(first < 0 ? 0 : first), ~0u, 0);
}

INTERPOSE(int, fcntl, int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  const long argument = va_arg(arguments, long);
  va_end(arguments);
  // The launcher's pipe is neither what the file is nor how it was opened.
  if ((command == F_GETFL || command == F_SETFL) && IsOurs(fd)) {
    if (command == F_SETFL) return 0;
    const long flags = Raw(SYS_fcntl, fd, F_GETFL);
    return static_cast<int>((flags & ~(O_NONBLOCK | O_ACCMODE)) | O_RDWR);
  }
  return NEXT(fcntl)(fd, command, argument);
}
ALSO_AS(fcntl, fcntl64);

INTERPOSE(int, ioctl, int fd, unsigned long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  const unsigned long argument = va_arg(arguments, unsigned long);
  va_end(arguments);
  Request request;
  if (!IsOurs(fd, &request)) {
    long answer = 0;
    if (SetKvmVfioFile(fd, number, argument, &answer)) {
      return static_cast<int>(Return(answer));
    }
    return static_cast<int>(Return(Raw(SYS_ioctl, fd, static_cast<long>(number),
                                       static_cast<long>(argument))));
  }
  request.kind = Kind::kIoctl;
  request.argument[0] = number;
  request.argument[1] = argument;
  switch (number) {
    case kGroupGetDeviceFd:
    case kKvmCreateVm:
    case kKvmCreateVcpu:
    case kKvmCreateDevice:
      return static_cast<int>(
          Return(CallForFile(request, nullptr, /*close_on_exec=*/true)));
    default:
      return static_cast<int>(Return(Call(request)));
  }
}
ALSO_AS(ioctl, __ioctl);

INTERPOSE(off_t, lseek, int fd, off_t offset, int whence) {
  Request request;
  if (!IsOurs(fd, &request)) return Return(Raw(SYS_lseek, fd, offset, whence));
  request.kind = Kind::kSeek;
  request.argument[0] = static_cast<uint64_t>(offset);
  request.argument[1] = static_cast<uint64_t>(whence);
  return Return(Call(request));
}
ALSO_AS(lseek, lseek64);
ALSO_AS(lseek, __lseek);

}  // namespace passthru::preload
