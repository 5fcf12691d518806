// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/task.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace passthru::journal {
namespace {

struct TaskList {
  absl::Mutex mutex;
  std::vector<pid_t> processes ABSL_GUARDED_BY(mutex);
};

TaskList& Tasks() {
  static absl::NoDestructor<TaskList> tasks;
  return *tasks;
}

thread_local Task* current_task = nullptr;

}  // namespace

Task::Task(pid_t pid, int pidfd) : pid_(pid), pidfd_(pidfd) {
  const absl::MutexLock lock(&Tasks().mutex);
  Tasks().processes.push_back(pid);
}

Task::~Task() {
  {
    const absl::MutexLock lock(&Tasks().mutex);
    auto& processes = Tasks().processes;
    processes.erase(std::find(processes.begin(), processes.end(), pid_));
  }
  ::close(pidfd_);
}

ScopedTask::ScopedTask(Task* task)
    : before_(std::exchange(current_task, task)) {}

ScopedTask::~ScopedTask() { current_task = before_; }

Task* CurrentTask() { return current_task; }

pid_t CurrentProcess() {
  return current_task == nullptr ? 0 : current_task->pid();
}

std::vector<pid_t> TaskProcesses() {
  const absl::MutexLock lock(&Tasks().mutex);
  return Tasks().processes;
}

LocalFd::LocalFd(int fd) {
  if (current_task == nullptr) {
    local_ = ::fcntl(fd, F_GETFD) < 0 ? -1 : fd;
    if (local_ < 0) error_ = EBADF;
    return;
  }
  local_ = static_cast<int>(
      ::syscall(SYS_pidfd_getfd, current_task->pidfd(), fd, 0));
  owned_ = local_ >= 0;
  if (local_ < 0) error_ = errno == EMFILE || errno == ENFILE ? errno : EBADF;
}

LocalFd::~LocalFd() {
  if (owned_) ::close(local_);
}

}  // namespace passthru::journal
