// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_
#define PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::fake {

// The memory of one BAR: an anonymous file, so that any number of real mappings
// show the same bytes, and that a mapping can be taken away and put back
// without losing them.
//
// A dead mapping is one of an empty file: a touch raises SIGBUS, as of a
// device whose memory decode is off.
//
// Thread-compatible; the memory itself is shared with whoever mapped it.
class BarMemory {
 public:
  // `size` bytes of zero; `name` is for /proc/self/maps.
  static absl::StatusOr<std::unique_ptr<BarMemory>> Create(
      uint64_t size, const std::string& name);
  ~BarMemory();
  BarMemory(const BarMemory&) = delete;
  BarMemory& operator=(const BarMemory&) = delete;

  // Size of the BAR; mappings cover it in whole pages.
  uint64_t size() const { return size_; }

  // Bytes outside of the BAR read as all ones and are not written.
  void Read(uint64_t offset, absl::Span<uint8_t> data) const;
  void Write(uint64_t offset, absl::Span<const uint8_t> data);

  // All zero again, in every mapping too.
  void Clear();

  // mmap(2) of the memory, or of nothing when `alive` is false. `flags` may
  // hold MAP_FIXED to change an existing mapping between the two.
  kernel::SyscallResult<void*> Map(void* address, size_t length, int protection,
                                   int flags, uint64_t offset,
                                   bool alive) const;

 private:
  BarMemory(uint64_t size, int memory_fd, int empty_fd)
      : size_(size), memory_fd_(memory_fd), empty_fd_(empty_fd) {}

  const uint64_t size_;
  const int memory_fd_;
  const int empty_fd_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_BAR_MEMORY_H_
