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

// Which descriptors of this process are the fake kernel's, and which open file
// each refers to.
//
// A descriptor handed out is a real one: the read end of a pipe that carries
// nothing. Its number is the kernel's, it may be closed, duplicated, polled or
// passed anywhere. A file is found by the identity of its pipe (st_dev,
// st_ino), never by the number, so that dup(2), close(2) behind the fake's back
// and the reuse of a number are all right. The table keeps the pipe's write
// end, which reports an error once the last read end is closed.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FileTable {
 public:
  FileTable() = default;
  FileTable(const FileTable&) = delete;
  FileTable& operator=(const FileTable&) = delete;
  ~FileTable();

  // A new descriptor for `file`; EMFILE when there is none. The file stays
  // open until the last descriptor, mapping and FileRef is gone.

  kernel::SyscallResult<int> Install(std::shared_ptr<FakeFile> file,
                                     bool close_on_exec = true);

  // The open file, or null when the descriptor is not the fake's.
  FileRef Lookup(int fd) const;

  // Whether the number is open at all.
  static bool IsOpen(int fd);

  // close(2) of a descriptor of the fake's.
  kernel::SyscallResult<int> Close(int fd);

  // Releases files whose last descriptor was closed behind the fake's back.
  void Sweep();

  // Releases everything, whoever still has a descriptor.
  void Clear();

  struct OpenFile {
    int fd = -1;  // As it was handed out.
    std::string description;
  };
  // What is open by descriptor now.
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
