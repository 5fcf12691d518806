// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/file_table.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

using kernel::SyscallResult;

FileTable::~FileTable() {
  for (auto& [identity, entry] : entries_) ::close(entry.own_end);
}

SyscallResult<int> FileTable::Install(std::shared_ptr<FakeFile> file,
                                      bool close_on_exec) {
  journal::Task* const task = journal::CurrentTask();
  // The task has reserved no number, because it does not know that the call
  // makes a file.
  if (task != nullptr && task->reserved_fd < 0) return {.error = EMFILE};
  int ends[2];
  // Nonblocking, so that a read(2) that bypasses the seam does not hang.
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return {.error = errno};
  if (file->takes_plain_writes()) std::swap(ends[0], ends[1]);
  if (!close_on_exec) ::fcntl(ends[0], F_SETFD, 0);
  ::fcntl(ends[0], F_SETSIG, kMark);
  struct stat status;
  if (::fstat(ends[0], &status) != 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    return {.error = error};
  }
  // This pointer needs a control block of its own, whose deleter does what
  // fput() does for the file.
  FakeFile* const raw = file.get();
  FileRef reference(raw, [file = std::move(file)](FakeFile* released) {
    released->OnRelease();
  });
  entries_[{status.st_dev, status.st_ino}] =
      Entry{.file = std::move(reference),
            .first_fd = task == nullptr ? ends[0] : task->reserved_fd,
            .own_end = ends[1]};
  if (epoll_fd_ >= 0) {
    // Errors are reported whether asked for or not (epoll_ctl(2)).
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 0}};
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, ends[1], &event);
  }
  if (task == nullptr) return {.value = ends[0]};
  task->made_fd = ends[0];
  return {.value = task->reserved_fd};
}

std::optional<FileTable::Identity> FileTable::IdentityOf(int fd) {
  const journal::Task* const task = journal::CurrentTask();
  if (task != nullptr && fd >= 0 && task->known.fd == fd) {
    return Identity{task->known.device, task->known.inode};
  }
  const auto identity_here = [](int here) -> std::optional<Identity> {
    struct stat status;
    if (::fstat(here, &status) != 0 || !S_ISFIFO(status.st_mode)) {
      return std::nullopt;
    }
    return Identity{status.st_dev, status.st_ino};
  };
  if (task == nullptr) return identity_here(fd);
  return identity_here(journal::LocalFd(fd).get());
}

FileRef FileTable::Lookup(int fd) const {
  const std::optional<Identity> identity = IdentityOf(fd);
  if (!identity.has_value()) return nullptr;
  const auto found = entries_.find(*identity);
  return found == entries_.end() ? nullptr : found->second.file;
}

bool FileTable::IsOpen(int fd) { return journal::LocalFd(fd).get() >= 0; }

SyscallResult<int> FileTable::Close(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return {.error = errno};
  if (::close(fd) != 0) return {.error = errno};
  const auto found = entries_.find({status.st_dev, status.st_ino});
  if (found != entries_.end() && LastOneGone(found->second.own_end)) {
    ::close(found->second.own_end);
    // Erases the entry first, because the release may call this table again.
    const FileRef last = std::move(found->second.file);
    entries_.erase(found);
  }
  return {};
}

void FileTable::Sweep() {
  std::vector<FileRef> gone;
  for (const auto& [identity, entry] : entries_) TakePlainWrites(entry);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (LastOneGone(entry->second.own_end)) {
      ::close(entry->second.own_end);
      gone.push_back(std::move(entry->second.file));
      entry = entries_.erase(entry);
    } else {
      ++entry;
    }
  }
}

void FileTable::Clear() {
  std::map<Identity, Entry> entries;
  entries.swap(entries_);
  for (auto& [identity, entry] : entries) ::close(entry.own_end);
}

std::vector<FileTable::OpenFile> FileTable::OpenFiles() {
  Sweep();
  std::vector<OpenFile> open;
  for (const auto& [identity, entry] : entries_) {
    open.push_back(
        {.fd = entry.first_fd, .description = entry.file->Describe()});
  }
  return open;
}

// A write end polls as an error once all readers are closed, and a read end as
// hung up once all writers are (pipe(7)).
bool FileTable::LastOneGone(int own_end) {
  pollfd poll{.fd = own_end, .events = 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & (POLLERR | POLLHUP)) != 0;
}

void FileTable::TakePlainWrites(const Entry& entry) {
  if (!entry.file->takes_plain_writes()) return;
  // The bytes are in this process, whoever wrote them.
  const journal::ScopedTask own(nullptr);
  char text[4096];
  for (;;) {
    const ssize_t length = ::read(entry.own_end, text, sizeof(text));
    if (length <= 0) return;
    entry.file->Write(text, static_cast<size_t>(length));
  }
}

}  // namespace passthru::fake
