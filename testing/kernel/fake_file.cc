// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/fake_file.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>

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

bool FakeFile::IsVfioFile() const { return false; }

SyscallResult<size_t> PositionedFile::Read(void* buffer, size_t count) {
  return MoveOn(Pread(buffer, count, position_));
}

SyscallResult<size_t> PositionedFile::Write(const void* buffer, size_t count) {
  return MoveOn(Pwrite(buffer, count, position_));
}

SyscallResult<size_t> PositionedFile::MoveOn(
    const SyscallResult<size_t>& result) {
  if (result.ok()) position_ += result.value;
  return result;
}

}  // namespace passthru::fake
