// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_POSITIONED_FILE_H_
#define PASSTHRU_TESTING_KERNEL_POSITIONED_FILE_H_

#include <cstddef>
#include <cstdint>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

// A file with a position, where read(2) and write(2) begin and which they
// advance, like vfs_read() and vfs_write() with f_pos. Subclasses implement
// Pread() and Pwrite().
class PositionedFile : public FakeFile {
 public:
  kernel::SyscallResult<size_t> Read(void* buffer, size_t count) final {
    return MoveOn(Pread(buffer, count, position_));
  }
  kernel::SyscallResult<size_t> Write(const void* buffer, size_t count) final {
    return MoveOn(Pwrite(buffer, count, position_));
  }

 private:
  kernel::SyscallResult<size_t> MoveOn(
      const kernel::SyscallResult<size_t>& result) {
    if (result.ok()) position_ += result.value;
    return result;
  }

  uint64_t position_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_POSITIONED_FILE_H_
