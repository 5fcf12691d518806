// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/bar_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/testing/journal/task.h"

namespace passthru::fake {
namespace {

// Returns how much of an access at `offset` is inside `size` bytes.
size_t Inside(uint64_t size, uint64_t offset, size_t length) {
  if (offset >= size) return 0;
  return static_cast<size_t>(std::min<uint64_t>(length, size - offset));
}

// Copies the bytes of one file to another, which gets the same holes. Returns
// false and sets errno if that fails.
bool CopyBytes(int from, int to) {
  const off_t length = lseek(from, 0, SEEK_END);
  // A hole reads as zero, whatever was there before.
  if (ftruncate(to, 0) != 0 || ftruncate(to, length) != 0) return false;
  off_t at = 0;
  while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
    const off_t end = lseek(from, at, SEEK_HOLE);
    if (end < 0 || lseek(to, at, SEEK_SET) != at) return false;
    while (at < end) {
      const auto rest = static_cast<size_t>(end - at);
      const ssize_t sent = sendfile(to, from, &at, rest);
      if (sent == 0) errno = EIO;
      if (sent <= 0) return false;
    }
  }
  // There is no data beyond (lseek(2)).
  return errno == ENXIO;
}

// Moves the bytes of one file to another. If that fails, it returns false and
// sets errno, the first file keeps its bytes, and the other is empty.
bool MoveBytes(int from, int to) {
  if (CopyBytes(from, to) && ftruncate(from, 0) == 0) return true;
  const int error = errno;
  // Making a file shorter takes no memory.
  [[maybe_unused]] const int result = ftruncate(to, 0);
  errno = error;
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BarMemory>> BarMemory::Create(
    uint64_t size, const std::string& name) {
  const int memory_fd = memfd_create(name.c_str(), MFD_CLOEXEC);
  const int empty_fd =
      memfd_create(absl::StrCat(name, " (decode off)").c_str(), MFD_CLOEXEC);
  const uint64_t page = kernel::PageSize();
  const uint64_t length = (size + page - 1) / page * page;
  if (memory_fd < 0 || empty_fd < 0 ||
      ftruncate(memory_fd, static_cast<off_t>(length)) != 0) {
    const int error = errno;
    if (memory_fd >= 0) close(memory_fd);
    if (empty_fd >= 0) close(empty_fd);
    return kernel::ErrnoError(
        error, absl::StrCat("the simulation's memory of ", name, ", ", length,
                            " bytes"));
  }
  return absl::WrapUnique(new BarMemory(size, memory_fd, empty_fd));
}

BarMemory::~BarMemory() {
  close(memory_fd_);
  close(empty_fd_);
  if (kept_fd_ >= 0) close(kept_fd_);
}

// Reads with a system call and not through a mapping. A guest thread may store
// to the same bytes, which would be a data race between plain accesses.
void BarMemory::Read(uint64_t offset, absl::Span<uint8_t> data) const {
  std::memset(data.data(), 0xff, data.size());
  const size_t inside = Inside(size_, offset, data.size());
  if (inside == 0) return;
  const ssize_t got =
      pread(bytes_fd(), data.data(), inside, static_cast<off_t>(offset));
  if (got != static_cast<ssize_t>(inside)) {
    std::memset(data.data(), 0xff, data.size());
  }
}

void BarMemory::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  const size_t inside = Inside(size_, offset, data.size());
  if (inside == 0) return;
  // Fails only when the machine is out of memory. The store is then lost, like
  // one to a broken device.
  [[maybe_unused]] const ssize_t written =
      pwrite(bytes_fd(), data.data(), inside, static_cast<off_t>(offset));
}

void BarMemory::Clear() {
  // A hole in the file reads as zero. Punching it cannot fail on a memfd.
  [[maybe_unused]] const int result =
      fallocate(bytes_fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                static_cast<off_t>(size_));
}

absl::Status BarMemory::SetReachable(bool reachable) {
  if (reachable == reachable_) return absl::OkStatus();
  if (kept_fd_ < 0) kept_fd_ = memfd_create("unreachable BAR", MFD_CLOEXEC);
  const bool moved =
      kept_fd_ >= 0 && (reachable ? MoveBytes(kept_fd_, memory_fd_)
                                  : MoveBytes(memory_fd_, kept_fd_));
  if (!moved) {
    return kernel::ErrnoError(
        errno, absl::StrCat("a copy of a BAR of ", size_, " bytes"));
  }
  reachable_ = reachable;
  return absl::OkStatus();
}

kernel::SyscallResult<void*> BarMemory::Map(void* address, size_t length,
                                            int protection, int flags,
                                            uint64_t offset, bool alive) const {
  if (journal::Task* const task = journal::CurrentTask(); task != nullptr) {
    task->mapped_fd = memory_fd_;
    task->mapped_offset = offset;
    return {address, 0};
  }
  void* mapped =
      mmap(address, length, protection, flags, alive ? memory_fd_ : empty_fd_,
           static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return {nullptr, errno};
  return {mapped, 0};
}

}  // namespace passthru::fake
