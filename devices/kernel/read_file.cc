// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/read_file.h"

#include <fcntl.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

absl::StatusOr<std::string> ReadFile(Syscalls* syscalls,
                                     const std::string& path, size_t limit) {
  const SyscallResult<int> opened =
      syscalls->Open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (!opened.ok()) {
    return ErrnoError(opened.error, absl::StrCat("open of ", path));
  }
  const FileDescriptor file(syscalls, opened.value);

  std::string text(limit, '\0');
  size_t length = 0;
  while (length < limit) {
    const SyscallResult<size_t> part =
        syscalls->Read(file.get(), text.data() + length, limit - length);
    if (part.error == EINTR) continue;
    if (!part.ok()) {
      return ErrnoError(part.error, absl::StrCat("read of ", path));
    }
    if (part.value == 0) break;
    length += part.value;
  }
  text.resize(length);
  return text;
}

}  // namespace passthru::kernel
