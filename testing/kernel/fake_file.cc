// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/fake_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_syscall.h"

namespace passthru::fake {

using kernel::SyscallResult;

journal::Call FakeFile::DescribeIoctl(unsigned long request,
                                      const void* arg) const {
  return journal::DescribeUnknownIoctl(request, arg);
}

std::string_view FakeFile::IoctlName(unsigned long) const { return {}; }

// Answers like vfs_ioctl() for a file without unlocked_ioctl.
SyscallResult<int> FakeFile::Ioctl(unsigned long, void*) {
  return {.error = ENOTTY};
}

bool FakeFile::RunsUnlocked(unsigned long) const { return false; }

// These answer like vfs_read() and vfs_write() without FMODE_CAN_READ and
// FMODE_CAN_WRITE.
SyscallResult<size_t> FakeFile::Read(void*, size_t) {
  return {.error = EINVAL};
}

SyscallResult<size_t> FakeFile::Write(const void*, size_t) {
  return {.error = EINVAL};
}

SyscallResult<size_t> FakeFile::Pread(void*, size_t, uint64_t) {
  return {.error = EINVAL};
}

SyscallResult<size_t> FakeFile::Pwrite(const void*, size_t, uint64_t) {
  return {.error = EINVAL};
}

// Answers like ksys_lseek() for a file without FMODE_LSEEK.
SyscallResult<uint64_t> FakeFile::Seek(int64_t, int) {
  return {.error = ESPIPE};
}

// Answers like do_mmap() for a file without an mmap operation.
SyscallResult<void*> FakeFile::Mmap(void*, size_t, int, int, uint64_t) {
  return {.error = ENODEV};
}

MappedAccess FakeFile::MappedLoad(uint64_t, absl::Span<uint8_t>) {
  return MappedAccess::kPlainMemory;
}

MappedAccess FakeFile::MappedStore(uint64_t, absl::Span<const uint8_t>) {
  return MappedAccess::kPlainMemory;
}

bool FakeFile::PeerLoad(uint64_t, absl::Span<uint8_t>) { return false; }

bool FakeFile::PeerStore(uint64_t, absl::Span<const uint8_t>) { return false; }

bool FakeFile::IsVfioFile(KernelVersion) const { return false; }

SyscallResult<size_t> PositionedFile::Read(void* buffer, size_t count) {
  return MoveOn(Pread(buffer, count, position_));
}

SyscallResult<size_t> PositionedFile::Write(const void* buffer, size_t count) {
  return MoveOn(Pwrite(buffer, count, position_));
}

// Answers like generic_file_llseek().
SyscallResult<uint64_t> PositionedFile::Seek(int64_t offset, int whence) {
  const std::optional<uint64_t> end = size();
  if (!end.has_value()) return {.error = ESPIPE};
  int64_t from = 0;
  if (whence == SEEK_CUR) {
    from = static_cast<int64_t>(position_);
  } else if (whence == SEEK_END) {
    from = static_cast<int64_t>(*end);
  } else if (whence != SEEK_SET) {
    return {.error = EINVAL};
  }
  int64_t position = 0;
  if (__builtin_add_overflow(from, offset, &position) || position < 0) {
    return {.error = EINVAL};
  }
  position_ = static_cast<uint64_t>(position);
  return {.value = position_};
}

SyscallResult<size_t> PositionedFile::MoveOn(
    const SyscallResult<size_t>& result) {
  if (result.ok()) position_ += result.value;
  return result;
}

}  // namespace passthru::fake
