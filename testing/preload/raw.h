// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_RAW_H_
#define PASSTHRU_TESTING_PRELOAD_RAW_H_

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

namespace passthru::preload {

// Makes a system call past the C library, whose functions this library
// replaces. Returns the result, or minus an errno.
inline long Raw(long number, long a = 0, long b = 0, long c = 0, long d = 0,
                long e = 0, long f = 0) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
                     "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

inline long AsLong(const volatile void* pointer) {
  return reinterpret_cast<long>(pointer);
}

inline bool IsError(long result) { return result < 0 && result > -4096; }

// Returns what a function of the C library returns for a result of Raw().
inline long Return(long result) {
  if (!IsError(result)) return result;
  errno = static_cast<int>(-result);
  return -1;
}

}  // namespace passthru::preload

// Defines a function that takes the place of the C library's of this name. The
// label keeps it apart from the declaration in the library's header.
#define INTERPOSE(type, name, ...)                  \
  extern "C" __attribute__((visibility("default"))) \
  type passthru_##name(__VA_ARGS__) __asm__(#name); \
  type passthru_##name(__VA_ARGS__)

// Defines `alias` as another name of an interposed function.
#define ALSO_AS(name, alias) \
  __asm__(".globl " #alias "\n\t.set " #alias ", " #name)

// Returns the C library's own function that an interposed one replaces.
#define NEXT(name)                                         \
  ({                                                       \
    static decltype(&passthru_##name) next;                \
    if (next == nullptr) {                                 \
      next = reinterpret_cast<decltype(&passthru_##name)>( \
          dlsym(RTLD_NEXT, #name));                        \
    }                                                      \
    next;                                                  \
  })

#endif  // PASSTHRU_TESTING_PRELOAD_RAW_H_
