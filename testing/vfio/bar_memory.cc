// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/bar_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
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
}

// Reads with a system call and not through a mapping. A guest thread may store
// to the same bytes, which would be a data race between plain accesses.
void BarMemory::Read(uint64_t offset, absl::Span<uint8_t> data) const {
  std::memset(data.data(), 0xff, data.size());
  const size_t inside = Inside(size_, offset, data.size());
  if (inside == 0) return;
  const ssize_t got =
      pread(memory_fd_, data.data(), inside, static_cast<off_t>(offset));
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
      pwrite(memory_fd_, data.data(), inside, static_cast<off_t>(offset));
}

void BarMemory::Clear() {
  // A hole in the file reads as zero. Punching it cannot fail on a memfd.
  [[maybe_unused]] const int result =
      fallocate(memory_fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                static_cast<off_t>(size_));
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
