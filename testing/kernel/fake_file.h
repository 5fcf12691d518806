// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_
#define PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// The result of a guest's access to a mapping of a file.
enum class MappedAccess {
  kPlainMemory,  // The caller accesses the memory itself.
  kHandled,      // The file did the access (a register).
  kFault,        // Memory decode is off: SIGBUS, EFAULT.
};

// One open file description of the fake kernel (struct file), to which one or
// more descriptors refer. The subclasses are the character devices, VMs, vCPUs,
// VFIO groups and devices.
//
// Every method is called with the fake kernel's mutex held, except Ioctl() of a
// request for which RunsUnlocked() is true. The defaults answer as Linux does
// for a file without the operation.
class FakeFile {
 public:
  virtual ~FakeFile() = default;

  FakeFile() = default;
  FakeFile(const FakeFile&) = delete;
  FakeFile& operator=(const FakeFile&) = delete;

  // Returns a name for the journal and the leak report, such as "vm" or
  // "vfio-device 0000:01:00.0".
  virtual std::string Describe() const = 0;

  // Decodes an ioctl before it is carried out. Must not trust `arg`, but read
  // it with CopyFromUser(). The caller fills in the subject.
  virtual journal::Call DescribeIoctl(unsigned long request,
                                      const void* arg) const;

  // Returns the name of that call, or nothing if only DescribeIoctl() knows it.
  virtual std::string_view IoctlName(unsigned long request) const;

  virtual kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);

  // Returns whether Ioctl() of this request may block. If so, Ioctl() takes the
  // mutex itself.
  virtual bool RunsUnlocked(unsigned long request) const;

  virtual kernel::SyscallResult<size_t> Read(void* buffer, size_t count);
  virtual kernel::SyscallResult<size_t> Write(const void* buffer, size_t count);
  virtual kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                              uint64_t offset);
  virtual kernel::SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                                               uint64_t offset);

  // Returns the size that fstat(2) shows of a file with contents, which can
  // then be sought in.
  virtual std::optional<uint64_t> size() const { return std::nullopt; }
  // Sets the position, like lseek(2).
  virtual kernel::SyscallResult<uint64_t> Seek(int64_t offset, int whence);

  // Returns whether a write(2) that bypasses the seam reaches Write(), later
  // and without an answer, because programs such as a shell's `echo` write so.
  virtual bool takes_plain_writes() const { return false; }

  // Makes a real mapping of this process, or leaves what a task must map in
  // the task (testing/journal/task.h). FakeKernel enters the result in the
  // MappingTable, where the file finds it again (MappingTable::Of()). The entry
  // keeps the file open until the memory is unmapped, as on Linux.
  virtual kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                            int protection, int flags,
                                            uint64_t offset);

  // Carry out a guest's access through a memory slot to a mapping of this file.
  // `offset` is the offset in the file. The access never crosses a page.
  virtual MappedAccess MappedLoad(uint64_t offset, absl::Span<uint8_t> data);
  virtual MappedAccess MappedStore(uint64_t offset,
                                   absl::Span<const uint8_t> data);

  // Carry out the access of another device, which reaches a mapping of this
  // file by DMA. `offset` is the offset in the file. Return false if the
  // mapping is memory for it.
  virtual bool PeerLoad(uint64_t offset, absl::Span<uint8_t> data);
  virtual bool PeerStore(uint64_t offset, absl::Span<const uint8_t> data);

  // Returns whether that kernel's KVM-VFIO device accepts this file, like
  // vfio_file_is_valid().
  virtual bool IsVfioFile(KernelVersion version) const;

  // Called once, when no descriptor, mapping or other kernel object refers to
  // the file any more.
  virtual void OnRelease() {}
};

// A file with a position, where read(2) and write(2) begin and which they
// advance, like vfs_read() and vfs_write() with f_pos. Subclasses implement
// Pread() and Pwrite().
class PositionedFile : public FakeFile {
 public:
  kernel::SyscallResult<size_t> Read(void* buffer, size_t count) final;
  kernel::SyscallResult<size_t> Write(const void* buffer, size_t count) final;
  kernel::SyscallResult<uint64_t> Seek(int64_t offset, int whence) final;

 private:
  kernel::SyscallResult<size_t> MoveOn(
      const kernel::SyscallResult<size_t>& result);

  uint64_t position_ = 0;
};

// A counted reference to an open file, as fget() returns it. Dropping the last
// one releases the file, so references must be dropped with the fake kernel's
// mutex held. Only FileTable::Install() makes one. A shared_ptr that the file's
// own subsystem keeps does not hold the file open.
using FileRef = std::shared_ptr<FakeFile>;

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_
