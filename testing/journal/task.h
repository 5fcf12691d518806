// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_TASK_H_
#define PASSTHRU_TESTING_JOURNAL_TASK_H_

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace passthru::journal {

// Another process whose system call this thread carries out, like Linux's
// `current`. While a Task is the current one (ScopedTask), the descriptors and
// the addresses of a call are that process's. Without one they are this
// process's own.
//
// A call that makes a descriptor or a mapping cannot make it in another
// process. It gets the number or the address that the process has reserved, and
// leaves here what the process shall put there.
//
// Thread-compatible. The list of all tasks is thread-safe.
class Task {
 public:
  // `pidfd` refers to the process `pid`, and the object closes it.
  Task(pid_t pid, int pidfd);
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_; }

  // The file behind one descriptor, which the process has looked up, so that
  // this one need not. -1 for none.
  struct KnownFile {
    int fd = -1;
    dev_t device = 0;
    ino_t inode = 0;
  };
  KnownFile known;

  // The free descriptor of the process for a file that the call makes, or -1
  // if the call may make none. The file's descriptor here is then `made_fd`,
  // which the caller of the kernel owns.
  int reserved_fd = -1;
  int made_fd = -1;

  // What mmap(2) must show at the address that the process has reserved: a
  // descriptor here, which the file behind the mapping owns.
  int mapped_fd = -1;
  uint64_t mapped_offset = 0;
  // Whether the processor must not reach the memory, because registers are
  // behind it.
  bool mapped_is_device = false;

 private:
  const pid_t pid_;
  const int pidfd_;
};

// Makes a task the current one of this thread.
class ScopedTask {
 public:
  explicit ScopedTask(Task* task);
  ~ScopedTask();
  ScopedTask(const ScopedTask&) = delete;
  ScopedTask& operator=(const ScopedTask&) = delete;

 private:
  Task* const before_;
};

// Returns the current task, or null if it is this process.
Task* CurrentTask();

// Returns the current task's process, or 0 if it is this one.
pid_t CurrentProcess();

// Returns the processes of all tasks.
std::vector<pid_t> TaskProcesses();

// A descriptor of the current task as one of this process.
class LocalFd {
 public:
  explicit LocalFd(int fd);
  ~LocalFd();
  LocalFd(const LocalFd&) = delete;
  LocalFd& operator=(const LocalFd&) = delete;

  // Returns the descriptor here, or -1 if the task has none of that number.
  int get() const { return local_; }
  // Returns why it is -1: EBADF, or EMFILE if this process has none left.
  int error() const { return error_; }

 private:
  int local_ = -1;
  int error_ = 0;
  bool owned_ = false;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_TASK_H_
