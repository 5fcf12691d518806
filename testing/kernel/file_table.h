// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_
#define PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

// The descriptors of this process, and of the tasks whose calls it carries out
// (testing/journal/task.h), that belong to the fake kernel, and the open file
// of each.
//
// The table hands out real descriptors, each the read end of a pipe that
// carries no data, or the write end if the file takes plain writes. The real
// kernel chooses the number, and the program may close, duplicate, poll or pass
// on the descriptor. The table finds a file by the identity of its pipe
// (st_dev, st_ino) and not by the number. It therefore copes with dup(2), with
// a close(2) that bypasses the fake, and with numbers that are used again. It
// keeps the pipe's other end, which reports an error once the last of those
// handed out is closed.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FileTable {
 public:
  FileTable() = default;
  FileTable(const FileTable&) = delete;
  FileTable& operator=(const FileTable&) = delete;
  ~FileTable();

  // Returns a new descriptor of the current task for `file`, or the errno of
  // pipe2(2), such as
  // EMFILE. The file stays open until its last descriptor, mapping and FileRef
  // are released.
  kernel::SyscallResult<int> Install(std::shared_ptr<FakeFile> file,
                                     bool close_on_exec = true);

  // Returns the open file, or null if the descriptor does not belong to the
  // fake.
  FileRef Lookup(int fd) const;

  // The signal by which a program recognizes a descriptor of a fake file, with
  // F_GETSIG of fcntl(2). It belongs to the open file, so it survives dup(2),
  // fork(2), execve(2) and SCM_RIGHTS. No signal is ever sent.
  static constexpr int kMark = 63;

  // Returns whether any file is open at this number.
  static bool IsOpen(int fd);

  // Closes a descriptor of the fake, like close(2). A task closes its own, and
  // its kernel then calls Sweep().
  kernel::SyscallResult<int> Close(int fd);

  // Releases files whose last descriptor was closed without a call of Close().
  void Sweep();

  // Tells an epoll(7) instance when to call Sweep(). It must live until
  // Clear().
  void set_epoll(int epoll_fd) { epoll_fd_ = epoll_fd; }

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
    int own_end = -1;
  };

  static bool LastOneGone(int own_end);
  // Carries out what was written past the seam.
  static void TakePlainWrites(const Entry& entry);
  static std::optional<Identity> IdentityOf(int fd);

  int epoll_fd_ = -1;

  std::map<Identity, Entry> entries_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_FILE_TABLE_H_
