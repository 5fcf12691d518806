// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/user_memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "passthru/testing/journal/task.h"

namespace passthru::journal {
namespace {

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
  return Copy(::process_vm_readv, process, destination, user, size);
}

bool CopyToProcess(pid_t process, void* user, const void* source, size_t size) {
  return Copy(::process_vm_writev, process, const_cast<void*>(source), user,
              size);
}

}  // namespace passthru::journal
