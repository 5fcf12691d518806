// SPDX-License-Identifier: Apache-2.0
//
// The calls that start programs.
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "testing/preload/client.h"
#include "testing/preload/files.h"
#include "testing/preload/paths.h"
#include "testing/preload/raw.h"

extern char** environ;

namespace passthru::preload {
namespace {

// The two variables without which a program is not on the simulated kernel,
// kept here because the program may change its environment.
constexpr char kPreload[] = "LD_PRELOAD=";
constexpr size_t kPreloadLength = sizeof(kPreload) - 1;
constexpr size_t kFolderVariableLength = sizeof(kFolderVariable) - 1;
char library[PATH_MAX];
char folder_entry[256];

__attribute__((constructor)) void KeepVariables() {
  Dl_info info;
  const char* const folder = getenv(kFolderVariable);
  if (folder == nullptr || dladdr(library, &info) == 0 ||
      strlen(info.dli_fname) >= sizeof(library) ||
      kFolderVariableLength + strlen(folder) + 2 > sizeof(folder_entry)) {
    return;
  }
  strcpy(library, info.dli_fname);
  strcpy(folder_entry, kFolderVariable);
  strcat(folder_entry, "=");
  strcat(folder_entry, folder);
}

bool IsPreload(const char* entry) {
  return strncmp(entry, kPreload, kPreloadLength) == 0;
}

bool IsFolder(const char* entry) {
  return strncmp(entry, kFolderVariable, kFolderVariableLength) == 0 &&
         entry[kFolderVariableLength] == '=';
}

// Returns whether this library is the first of a list. Any other library may
// replace the C library's functions as well, but not this one's.
bool IsFirst(const char* list) {
  const size_t length = strlen(library);
  return strncmp(list, library, length) == 0 &&
         (list[length] == 0 || list[length] == ':' || list[length] == ' ');
}

// Returns how many bytes WithVariables() needs.
size_t RoomFor(char* const* environment) {
  size_t entries = 3;
  size_t text = kPreloadLength + strlen(library) + 2;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    ++entries;
    if (IsPreload(*environment)) text += strlen(*environment);
  }
  return entries * sizeof(char*) + text;
}

// Returns the environment of a new program, in which this library comes first
// and the launcher is found, whatever the caller put there or left out.
char* const* WithVariables(char* const* environment, void* room) {
  if (Folder() == nullptr || library[0] == 0) return environment;
  auto** const entries = static_cast<char**>(room);
  size_t count = 0;
  const char* others = nullptr;
  bool has_folder = false;
  for (char* const* entry = environment; entry != nullptr && *entry != nullptr;
       ++entry) {
    if (IsPreload(*entry) && !IsFirst(*entry + kPreloadLength)) {
      others = *entry + kPreloadLength;
      continue;
    }
    has_folder = has_folder || IsFolder(*entry);
    entries[count++] = *entry;
  }
  bool has_library = false;
  for (size_t i = 0; i < count; ++i) {
    has_library = has_library || IsPreload(entries[i]);
  }
  if (has_library && has_folder) return environment;
  if (!has_folder) entries[count++] = folder_entry;
  if (!has_library) {
    char* const text = reinterpret_cast<char*>(entries + count + 2);
    char* end = stpcpy(stpcpy(text, kPreload), library);
    if (others != nullptr && others[0] != 0) strcpy(stpcpy(end, ":"), others);
    entries[count++] = text;
  }
  entries[count] = nullptr;
  return entries;
}

// Puts the variables back into this program's own environment, for functions of
// the C library that start a program with it.
void RestoreVariables() {
  if (Folder() == nullptr || library[0] == 0) return;
  void* const room = __builtin_alloca(RoomFor(environ));
  char* const* const entries = WithVariables(environ, room);
  if (entries == environ) return;
  for (char* const* entry = entries; *entry != nullptr; ++entry) {
    if (IsPreload(*entry)) setenv("LD_PRELOAD", *entry + kPreloadLength, 1);
    if (IsFolder(*entry)) {
      setenv(kFolderVariable, *entry + kFolderVariableLength + 1, 1);
    }
  }
}

bool HasInterpreter(const char* head, size_t size) {
  Elf64_Ehdr header;
  if (size < sizeof(header)) return false;
  memcpy(&header, head, sizeof(header));
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const size_t at = header.e_phoff + i * sizeof(segment);
    if (at > size || size - at < sizeof(segment)) return false;
    memcpy(&segment, head + at, sizeof(segment));
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

// Writes the interpreter of a script. Returns whether it is one.
bool Interpreter(const char* head, size_t size, char* to) {
  if (size < 2 || head[0] != '#' || head[1] != '!') return false;
  size_t at = 2;
  while (at < size && (head[at] == ' ' || head[at] == '\t')) ++at;
  size_t length = 0;
  while (at < size && head[at] != ' ' && head[at] != '\t' && head[at] != '\n' &&
         length < PATH_MAX - 1) {
    to[length++] = head[at++];
  }
  to[length] = 0;
  return length > 0;
}

// Says so if the simulated kernel does not reach a program that is about to
// start.
void CheckProgram(const char* path) {
  if (Folder() == nullptr) return;
  // A process of this kind stays who it is (PR_SET_NO_NEW_PRIVS).
  const bool may_change = Raw(SYS_prctl, PR_GET_NO_NEW_PRIVS) == 0;
  char interpreter[PATH_MAX];
  constexpr int kMostInterpreters = 5;
  for (int i = 0; i < kMostInterpreters; ++i) {
    const int fd = static_cast<int>(Raw(SYS_openat, AT_FDCWD, AsLong(path),
                                        O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0) return;
    char head[2048];
    struct stat status;
    const long size =
        Raw(SYS_pread64, fd, AsLong(head), static_cast<long>(sizeof(head)), 0);
    const bool known = Raw(SYS_fstat, fd, AsLong(&status)) == 0;
    Raw(SYS_close, fd);
    if (size < static_cast<long>(SELFMAG) || !known) return;
    if (memcmp(head, ELFMAG, SELFMAG) != 0) {
      if (!Interpreter(head, static_cast<size_t>(size), interpreter)) return;
      path = interpreter;
      continue;
    }
    // The dynamic linker has no interpreter, and loads what it is told to.
    if (head[EI_CLASS] == ELFCLASS64 && strstr(path, "/ld-linux") == nullptr &&
        !HasInterpreter(head, static_cast<size_t>(size))) {
      Say(path,
          " is linked statically, so the simulated kernel cannot reach it; "
          "link it dynamically");
    } else if (may_change && (status.st_mode & S_ISUID) != 0 &&
               status.st_uid != static_cast<uid_t>(Raw(SYS_geteuid))) {
      Say(path,
          " changes the user, for which the dynamic linker leaves out the "
          "simulated kernel; start the whole as that user");
    }
    return;
  }
}

// Finds a program as execvp(3) does, but in the tree, too. Returns `name` if
// it has a slash or is nowhere.
const char* Find(const char* name, char* room) {
  if (name == nullptr || name[0] == 0 || strchr(name, '/') != nullptr) {
    return name;
  }
  const char* folders = getenv("PATH");
  if (folders == nullptr) folders = "/bin:/usr/bin";
  const size_t length = strlen(name);
  for (;;) {
    const size_t folder = strcspn(folders, ":");
    if (folder + length + 3 < PATH_MAX) {
      // An empty entry is the working directory.
      memcpy(room, folder == 0 ? "." : folders, folder == 0 ? 1 : folder);
      char* const end = room + (folder == 0 ? 1 : folder);
      strcpy(stpcpy(end, "/"), name);
      const Path path(AT_FDCWD, room);
      struct stat status;
      if (Raw(SYS_faccessat, AT_FDCWD, AsLong(path.get()), X_OK) == 0 &&
          Raw(SYS_newfstatat, AT_FDCWD, AsLong(path.get()), AsLong(&status),
              0) == 0 &&
          S_ISREG(status.st_mode)) {
        return room;
      }
    }
    if (folders[folder] == 0) return name;
    folders += folder + 1;
  }
}

// Collects the arguments of execl(3) and its like, which end with a null.
#define COLLECT(first)                                                    \
  va_list list;                                                           \
  va_start(list, first);                                                  \
  size_t count = 1;                                                       \
  while (va_arg(list, char*) != nullptr) ++count;                         \
  va_end(list);                                                           \
  auto** const arguments =                                                \
      static_cast<char**>(__builtin_alloca((count + 1) * sizeof(char*))); \
  arguments[0] = const_cast<char*>(first);                                \
  va_start(list, first);                                                  \
  for (size_t i = 1; i <= count; ++i) arguments[i] = va_arg(list, char*)

}  // namespace

INTERPOSE(int, execve, const char* name, char* const* arguments,
          char* const* environment) {
  const Path path(AT_FDCWD, name);
  CheckProgram(path.get());
  void* const room = __builtin_alloca(RoomFor(environment));
  return static_cast<int>(
      Return(Raw(SYS_execve, AsLong(path.get()), AsLong(arguments),
                 AsLong(WithVariables(environment, room)))));
}

INTERPOSE(int, execv, const char* path, char* const* arguments) {
  return passthru_execve(path, arguments, environ);
}

INTERPOSE(int, execvpe, const char* name, char* const* arguments,
          char* const* environment) {
  char found[PATH_MAX];
  const char* const file = Find(name, found);
  void* const room = __builtin_alloca(RoomFor(environment));
  if (file == name && (name == nullptr || strchr(name, '/') == nullptr)) {
    return NEXT(execvpe)(name, arguments, WithVariables(environment, room));
  }
  const Path path(AT_FDCWD, file);
  CheckProgram(path.get());
  return NEXT(execvpe)(path.get(), arguments, WithVariables(environment, room));
}

INTERPOSE(int, execvp, const char* name, char* const* arguments) {
  return passthru_execvpe(name, arguments, environ);
}

INTERPOSE(int, execl, const char* path, const char* first, ...) {
  COLLECT(first);
  va_end(list);
  return passthru_execve(path, arguments, environ);
}

INTERPOSE(int, execlp, const char* name, const char* first, ...) {
  COLLECT(first);
  va_end(list);
  return passthru_execvpe(name, arguments, environ);
}

INTERPOSE(int, execle, const char* path, const char* first, ...) {
  COLLECT(first);
  char* const* const environment = va_arg(list, char**);
  va_end(list);
  return passthru_execve(path, arguments, environment);
}

INTERPOSE(int, fexecve, int fd, char* const* arguments,
          char* const* environment) {
  char path[32];
  DescriptorPath(fd, path);
  CheckProgram(path);
  void* const room = __builtin_alloca(RoomFor(environment));
  return NEXT(fexecve)(fd, arguments, WithVariables(environment, room));
}

INTERPOSE(int, execveat, int directory, const char* name,
          char* const* arguments, char* const* environment, int flags) {
  const Path path(directory, name);
  if (path.get() != nullptr && path.get()[0] == '/') CheckProgram(path.get());
  void* const room = __builtin_alloca(RoomFor(environment));
  return static_cast<int>(
      Return(Raw(SYS_execveat, directory, AsLong(path.get()), AsLong(arguments),
                 AsLong(WithVariables(environment, room)), flags)));
}

INTERPOSE(int, posix_spawn, pid_t* process, const char* name,
          const posix_spawn_file_actions_t* actions,
          const posix_spawnattr_t* attributes, char* const* arguments,
          char* const* environment) {
  const Path path(AT_FDCWD, name);
  CheckProgram(path.get());
  void* const room = __builtin_alloca(RoomFor(environment));
  return NEXT(posix_spawn)(process, path.get(), actions, attributes, arguments,
                           WithVariables(environment, room));
}

INTERPOSE(int, posix_spawnp, pid_t* process, const char* name,
          const posix_spawn_file_actions_t* actions,
          const posix_spawnattr_t* attributes, char* const* arguments,
          char* const* environment) {
  char found[PATH_MAX];
  const char* const file = Find(name, found);
  void* const room = __builtin_alloca(RoomFor(environment));
  if (file == name && (name == nullptr || strchr(name, '/') == nullptr)) {
    return NEXT(posix_spawnp)(process, name, actions, attributes, arguments,
                              WithVariables(environment, room));
  }
  const Path path(AT_FDCWD, file);
  CheckProgram(path.get());
  return NEXT(posix_spawnp)(process, path.get(), actions, attributes, arguments,
                            WithVariables(environment, room));
}

INTERPOSE(int, system, const char* command) {
  RestoreVariables();
  return NEXT(system)(command);
}

INTERPOSE(FILE*, popen, const char* command, const char* mode) {
  RestoreVariables();
  return NEXT(popen)(command, mode);
}

}  // namespace passthru::preload
