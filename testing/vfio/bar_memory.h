// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_
#define PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::fake {

// The memory of one BAR. It is an anonymous file, so that any number of real
// mappings show the same bytes, and so that a mapping can be disabled and
// restored without losing them.
//
// A disabled mapping shows an empty file. An access to it raises SIGBUS, as for
// a device whose memory decode is off. SetReachable() does the same to mappings
// that only another process can replace.
//
// Thread-compatible. The memory itself is shared with every mapping of it.
class BarMemory {
 public:
  // Makes a BAR of `size` zero bytes. `name` appears in /proc/self/maps.
  static absl::StatusOr<std::unique_ptr<BarMemory>> Create(
      uint64_t size, const std::string& name);
  ~BarMemory();
  BarMemory(const BarMemory&) = delete;
  BarMemory& operator=(const BarMemory&) = delete;

  // Returns the size of the BAR. Mappings cover it in whole pages.
  uint64_t size() const { return size_; }

  // Access the memory. Bytes outside of the BAR read as all ones and drop
  // writes.
  void Read(uint64_t offset, absl::Span<uint8_t> data) const;
  void Write(uint64_t offset, absl::Span<const uint8_t> data);

  // Sets all bytes to zero, which every mapping shows.
  void Clear();

  // Makes the file of all mappings, in all processes, an empty one, or gives it
  // its bytes back. KVM takes its pages away at once, as after
  // vfio_pci_zap_bars(). Read(), Write() and Clear() go on meanwhile. A failure
  // leaves it as it was.
  absl::Status SetReachable(bool reachable);

  // Maps the memory like mmap(2), or the empty file if `alive` is false.
  // `flags` may contain MAP_FIXED, to change an existing mapping from one to
  // the other. For a task (testing/journal/task.h) it leaves the memory in
  // Task::mapped_fd, and returns `address`.
  kernel::SyscallResult<void*> Map(void* address, size_t length, int protection,
                                   int flags, uint64_t offset,
                                   bool alive) const;

 private:
  BarMemory(uint64_t size, int memory_fd, int empty_fd)
      : size_(size), memory_fd_(memory_fd), empty_fd_(empty_fd) {}

  // Returns the file that has the bytes.
  int bytes_fd() const { return reachable_ ? memory_fd_ : kept_fd_; }

  const uint64_t size_;
  const int memory_fd_;
  const int empty_fd_;
  int kept_fd_ = -1;  // Has the bytes while mappings must not reach them.
  bool reachable_ = true;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_
