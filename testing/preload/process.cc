// SPDX-License-Identifier: Apache-2.0
//
// The beginning and the end of a program, and system calls by number.
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "testing/preload/client.h"
#include "testing/preload/files.h"
#include "testing/preload/kvm_vfio.h"
#include "testing/preload/memory.h"
#include "testing/preload/raw.h"
#include "testing/preload/trap.h"

namespace passthru::preload {
namespace {

void AfterFork() {
  if (Folder() == nullptr) return;
  ForgetConnections();
  ForgetMappingLock();
  ForgetStreamsLock();
  ForgetKvmVfioLock();
  Request request;
  request.kind = Kind::kForked;
  request.argument[0] = static_cast<uint64_t>(Raw(SYS_getppid));
  Call(request);
}

__attribute__((constructor)) void Begin() {
  if (Folder() == nullptr) return;
  HandleTraps();
  pthread_atfork(nullptr, nullptr, AfterFork);
  Request request;
  Call(request);
}

__attribute__((destructor)) void End() {
  Request request;
  request.kind = Kind::kExit;
  if (Folder() != nullptr) Call(request);
}

}  // namespace

// These end a program without its destructors.
INTERPOSE(void, _exit, int status) {
  End();
  for (;;) Raw(SYS_exit_group, status);
}
ALSO_AS(_exit, _Exit);

extern "C" {
int passthru_close(int) __asm__("close");
int passthru_close_range(unsigned, unsigned, int) __asm__("close_range");
int passthru_ioctl(int, unsigned long, ...) __asm__("ioctl");
ssize_t passthru_read(int, void*, size_t) __asm__("read");
ssize_t passthru_write(int, const void*, size_t) __asm__("write");
ssize_t passthru_pread(int, void*, size_t, off_t) __asm__("pread");
ssize_t passthru_pwrite(int, const void*, size_t, off_t) __asm__("pwrite");
void* passthru_mmap(void*, size_t, int, int, int, off_t) __asm__("mmap");
int passthru_munmap(void*, size_t) __asm__("munmap");
int passthru_execve(const char*, char* const*, char* const*) __asm__("execve");
int passthru_execveat(int, const char*, char* const*, char* const*,
                      int) __asm__("execveat");
}

// Programs call by number what their C library lacks. Those that concern the
// launcher's files go the way of the functions.
INTERPOSE(long, syscall, long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  const int fd = static_cast<int>(a[0]);
  switch (number) {
    case SYS_open:
      return Return(
          OpenAt(-100 /* AT_FDCWD */, reinterpret_cast<const char*>(a[0]),
                 static_cast<int>(a[1]), static_cast<unsigned>(a[2])));
    case SYS_openat:
      return Return(OpenAt(fd, reinterpret_cast<const char*>(a[1]),
                           static_cast<int>(a[2]),
                           static_cast<unsigned>(a[3])));
    case SYS_close:
      return passthru_close(fd);
    case SYS_close_range:
      return passthru_close_range(static_cast<unsigned>(a[0]),
                                  static_cast<unsigned>(a[1]),
                                  static_cast<int>(a[2]));
    case SYS_ioctl:
      return passthru_ioctl(fd, static_cast<unsigned long>(a[1]), a[2]);
    case SYS_read:
      return passthru_read(fd, reinterpret_cast<void*>(a[1]),
                           static_cast<size_t>(a[2]));
    case SYS_write:
      return passthru_write(fd, reinterpret_cast<void*>(a[1]),
                            static_cast<size_t>(a[2]));
    case SYS_pread64:
      return passthru_pread(fd, reinterpret_cast<void*>(a[1]),
                            static_cast<size_t>(a[2]), a[3]);
    case SYS_pwrite64:
      return passthru_pwrite(fd, reinterpret_cast<void*>(a[1]),
                             static_cast<size_t>(a[2]), a[3]);
    case SYS_mmap:
      return AsLong(
          passthru_mmap(reinterpret_cast<void*>(a[0]),
                        static_cast<size_t>(a[1]), static_cast<int>(a[2]),
                        static_cast<int>(a[3]), static_cast<int>(a[4]), a[5]));
    case SYS_munmap:
      return passthru_munmap(reinterpret_cast<void*>(a[0]),
                             static_cast<size_t>(a[1]));
    case SYS_execve:
      return passthru_execve(reinterpret_cast<const char*>(a[0]),
                             reinterpret_cast<char* const*>(a[1]),
                             reinterpret_cast<char* const*>(a[2]));
    case SYS_execveat:
      return passthru_execveat(fd, reinterpret_cast<const char*>(a[1]),
                               reinterpret_cast<char* const*>(a[2]),
                               reinterpret_cast<char* const*>(a[3]),
                               static_cast<int>(a[4]));
    default:
      return Return(Raw(number, a[0], a[1], a[2], a[3], a[4], a[5]));
  }
}

}  // namespace passthru::preload
