// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/user_memory.h"

#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "passthru/testing/journal/task.h"

namespace passthru::journal {
namespace {

// The addresses of a stack.
struct Stack {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

Stack StackOfThisThread() {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return {};
  void* address = nullptr;
  size_t size = 0;
  ::pthread_attr_getstack(&attributes, &address, &size);
  ::pthread_attr_destroy(&attributes);
  const auto begin = reinterpret_cast<uintptr_t>(address);
  return {.begin = begin, .end = begin + size};
}

// Returns whether all of the range is in frames of callers. That part of the
// stack is there and writable, or they could not return. Most callers' structs
// are there.
bool IsInCallersFrames(const void* address, size_t size) {
  thread_local const Stack stack = StackOfThisThread();
  const auto frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  // A coroutine has its frames elsewhere.
  if (frame < stack.begin || frame >= stack.end) return false;
  const auto first = reinterpret_cast<uintptr_t>(address);
  return first >= frame && first < stack.end && size <= stack.end - first;
}

// Up to this size the loop below takes less time than a system call.
constexpr size_t kFewBytes = 256;

// Copies as the kernel does, which knows nothing of the objects in the
// caller's memory. A struct that is shorter than the size it announces is the
// caller's mistake, and this code must not stop for it.
__attribute__((no_sanitize("address"), no_sanitize("thread"))) void CopyBytes(
    void* destination, const void* source, size_t size) {
  auto* const to = static_cast<volatile uint8_t*>(destination);
  const auto* const from = static_cast<const volatile uint8_t*>(source);
  for (size_t i = 0; i < size; ++i) to[i] = from[i];
}

using Transfer = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*,
                             unsigned long, unsigned long);

// Copies with a system call, in which the kernel walks the page tables. A bad
// address then gives a short count or EFAULT and never a signal.
bool Copy(Transfer transfer, pid_t process, void* local_address,
          const void* user, size_t size) {
  if (size == 0) return true;
  const iovec local{.iov_base = local_address, .iov_len = size};
  const iovec remote{.iov_base = const_cast<void*>(user), .iov_len = size};
  const ssize_t copied =
      transfer(process == 0 ? ::getpid() : process, &local, 1, &remote, 1, 0);
  return copied >= 0 && static_cast<size_t>(copied) == size;
}

}  // namespace

bool CopyFromUser(void* destination, const void* user, size_t size) {
  return CopyFromProcess(CurrentProcess(), destination, user, size);
}

bool CopyToUser(void* user, const void* source, size_t size) {
  return CopyToProcess(CurrentProcess(), user, source, size);
}

bool CopyFromProcess(pid_t process, void* destination, const void* user,
                     size_t size) {
  if (process == 0 && size <= kFewBytes && IsInCallersFrames(user, size)) {
    CopyBytes(destination, user, size);
    return true;
  }
  return Copy(::process_vm_readv, process, destination, user, size);
}

bool CopyToProcess(pid_t process, void* user, const void* source, size_t size) {
  if (process == 0 && size <= kFewBytes && IsInCallersFrames(user, size)) {
    CopyBytes(user, source, size);
    return true;
  }
  return Copy(::process_vm_writev, process, const_cast<void*>(source), user,
              size);
}

}  // namespace passthru::journal
