// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/user_memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace passthru::journal {
namespace {

using Transfer = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*,
                             unsigned long, unsigned long);

// Copies with a system call, in which the kernel walks the page tables. A bad
// address then gives a short count or EFAULT and never a signal.
bool Copy(Transfer transfer, void* local_address, const void* user,
          size_t size) {
  if (size == 0) return true;
  const iovec local{.iov_base = local_address, .iov_len = size};
  const iovec remote{.iov_base = const_cast<void*>(user), .iov_len = size};
  const ssize_t copied = transfer(::getpid(), &local, 1, &remote, 1, 0);
  return copied >= 0 && static_cast<size_t>(copied) == size;
}

}  // namespace

bool CopyFromUser(void* destination, const void* user, size_t size) {
  return Copy(::process_vm_readv, destination, user, size);
}

bool CopyToUser(void* user, const void* source, size_t size) {
  return Copy(::process_vm_writev, const_cast<void*>(source), user, size);
}

}  // namespace passthru::journal
