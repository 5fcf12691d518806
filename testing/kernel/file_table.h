// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_
#define PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

// The descriptors of this process that belong to the fake kernel, and the open
// file of each.
//
// The table hands out real descriptors, each the read end of a pipe that
// carries no data. The real kernel chooses the number, and the program may
// close, duplicate, poll or pass on the descriptor. The table finds a file by
// the identity of its pipe (st_dev, st_ino) and not by the number. It therefore
// copes with dup(2), with a close(2) that bypasses the fake, and with numbers
// that are used again. It keeps the pipe's write end, which reports an error
// once the last read end is closed.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FileTable {
 public:
  FileTable() = default;
  FileTable(const FileTable&) = delete;
  FileTable& operator=(const FileTable&) = delete;
  ~FileTable();

  // Returns a new descriptor for `file`, or the errno of pipe2(2), such as
  // EMFILE. The file stays open until its last descriptor, mapping and FileRef
  // are released.
  kernel::SyscallResult<int> Install(std::shared_ptr<FakeFile> file,
                                     bool close_on_exec = true);

  // Returns the open file, or null if the descriptor does not belong to the
  // fake.
  FileRef Lookup(int fd) const;

  // Returns whether any file is open at this number.
  static bool IsOpen(int fd);

  // Closes a descriptor of the fake, like close(2).
  kernel::SyscallResult<int> Close(int fd);

  // Releases files whose last descriptor was closed without a call of Close().
  void Sweep();

  // Releases every file, including those that still have descriptors.
  void Clear();

  struct OpenFile {
    int fd = -1;  // The first one handed out.
    std::string description;
  };
  // Returns the files that have a descriptor now.
  std::vector<OpenFile> OpenFiles();

 private:
  struct Identity {
    dev_t device;
    ino_t inode;
    friend auto operator<=>(const Identity&, const Identity&) = default;
  };
  struct Entry {
    FileRef file;
    int first_fd = -1;
    int write_end = -1;
  };

  static bool LastReaderGone(int write_end);

  std::map<Identity, Entry> entries_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_
