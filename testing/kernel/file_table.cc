// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/file_table.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

using kernel::SyscallResult;

FileTable::~FileTable() {
  for (auto& [identity, entry] : entries_) ::close(entry.write_end);
}

SyscallResult<int> FileTable::Install(std::shared_ptr<FakeFile> file,
                                      bool close_on_exec) {
  int ends[2];
  // Nonblocking, so that a read(2) that bypasses the seam does not hang.
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return {.error = errno};
  if (!close_on_exec) ::fcntl(ends[0], F_SETFD, 0);
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
  entries_[{status.st_dev, status.st_ino}] = Entry{
      .file = std::move(reference), .first_fd = ends[0], .write_end = ends[1]};
  return {.value = ends[0]};
}

FileRef FileTable::Lookup(int fd) const {
  struct stat status;
  if (::fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return nullptr;
  const auto found = entries_.find({status.st_dev, status.st_ino});
  return found == entries_.end() ? nullptr : found->second.file;
}

bool FileTable::IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

SyscallResult<int> FileTable::Close(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return {.error = errno};
  if (::close(fd) != 0) return {.error = errno};
  const auto found = entries_.find({status.st_dev, status.st_ino});
  if (found != entries_.end() && LastReaderGone(found->second.write_end)) {
    ::close(found->second.write_end);
    // Erases the entry first, because the release may call this table again.
    const FileRef last = std::move(found->second.file);
    entries_.erase(found);
  }
  return {};
}

void FileTable::Sweep() {
  std::vector<FileRef> gone;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (LastReaderGone(entry->second.write_end)) {
      ::close(entry->second.write_end);
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
  for (auto& [identity, entry] : entries) ::close(entry.write_end);
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

// A write end polls as an error once all readers are closed (pipe(7)).
bool FileTable::LastReaderGone(int write_end) {
  pollfd poll{.fd = write_end, .events = 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLERR) != 0;
}

}  // namespace passthru::fake
