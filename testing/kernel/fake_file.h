// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_
#define PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"

namespace passthru::fake {

// What became of a guest's access to a mapping of a file.
enum class MappedAccess {
  kPlainMemory,  // Nothing to see: the access goes to the memory itself.
  kHandled,      // A register: the file did the access.
  kFault,        // The mapping is dead (memory decode off): SIGBUS, EFAULT.
};

// One open file description of the fake kernel (struct file): what one or more
// descriptors refer to. Subclasses are the character devices, VMs, vCPUs, VFIO
// groups and devices.
//
// Every call is made with the fake kernel's mutex held, except Ioctl() of a
// request for which RunsUnlocked() is true. The defaults answer as Linux does
// for a file without the operation.
class FakeFile {
 public:
  virtual ~FakeFile() = default;

  FakeFile() = default;
  FakeFile(const FakeFile&) = delete;
  FakeFile& operator=(const FakeFile&) = delete;

  // For the journal and the leak report: "vfio-device 0000:01:00.0", "vm".
  virtual std::string Describe() const = 0;

  // Decodes an ioctl before it is carried out. Must not trust `arg`: read it
  // with CopyFromUser(). The caller fills in the subject.
  virtual journal::Call DescribeIoctl(unsigned long request,
                                      const void* arg) const;
  // For a request that nobody knows: its number.
  static journal::Call DescribeUnknownIoctl(unsigned long request,
                                            const void* arg);

  virtual kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);

  // Whether Ioctl() of this request may block and so takes the mutex itself.
  virtual bool RunsUnlocked(unsigned long request) const;

  virtual kernel::SyscallResult<size_t> Read(void* buffer, size_t count);
  virtual kernel::SyscallResult<size_t> Write(const void* buffer, size_t count);
  virtual kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                              uint64_t offset);
  virtual kernel::SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                                               uint64_t offset);

  // A real mapping of this process. The kernel core enters what is returned in
  // its MappingTable, where the file finds it again (MappingTable::Of()), and
  // which keeps the file open until it is unmapped, as Linux does.
  virtual kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                            int protection, int flags,
                                            uint64_t offset);

  // A guest's access, through a memory slot, to a mapping of this file;
  // `offset` is the file offset as mmap(2) was told it. Never crosses a page.
  virtual MappedAccess MappedLoad(uint64_t offset, absl::Span<uint8_t> data);
  virtual MappedAccess MappedStore(uint64_t offset,
                                   absl::Span<const uint8_t> data);

  // vfio_file_is_valid(): whether the KVM-VFIO device accepts this file.
  virtual bool IsVfioFile() const;

  // The last reference is gone: every descriptor closed, every mapping
  // unmapped, no other kernel object holding it. Called once.
  virtual void OnRelease() {}
};

// A counted reference to an open file, as fget() gives one. When the last is
// dropped the file is released; so references are dropped only with the fake
// kernel's mutex held. Made by FileTable::Install() only: a shared_ptr that the
// file's own subsystem keeps does not hold it open.
using FileRef = std::shared_ptr<FakeFile>;

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_FAKE_FILE_H_
