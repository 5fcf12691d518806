// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_MAPPED_REGION_H_
#define PASSTHRU_DEVICES_KERNEL_MAPPED_REGION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

// An owned mmap(2) mapping, which its destructor unmaps.
//
// Move-only. Moving does not change data(). Thread-compatible. The rules for
// accesses to the memory are those of the mapped object.
class MappedRegion {
 public:
  struct Options {
    size_t length = 0;
    int protection = 0;  // PROT_*
    int flags = 0;       // MAP_*. MAP_FIXED is InvalidArgument.
    int fd = -1;
    uint64_t offset = 0;
    // 0, or a power of two, modulo which data() and `offset` shall be equal.
    // Only then can the kernel map the file with entries of that size. If there
    // is no room for it in the address space, the mapping is made without it,
    // which is logged.
    size_t alignment = 0;
    std::string name;  // For messages, such as "BAR 0 of 0000:01:00.0".
  };
  static absl::StatusOr<MappedRegion> Map(Syscalls* syscalls,
                                          const Options& options);
  // Maps private memory that can be read and written and is 0.
  static absl::StatusOr<MappedRegion> Allocate(Syscalls* syscalls,
                                               size_t length, std::string name);

  MappedRegion() = default;
  MappedRegion(MappedRegion&& other) noexcept;
  MappedRegion& operator=(MappedRegion&& other) noexcept;
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;
  ~MappedRegion() { reset(); }

  // nullptr and 0 if nothing is mapped.
  void* data() const { return data_; }
  size_t size() const { return size_; }

  // Unmaps the memory now. Logs a failure of munmap(2).
  void reset();

 private:
  MappedRegion(Syscalls* syscalls, void* data, size_t size)
      : MappedRegion(syscalls, data, size, data, size) {}
  MappedRegion(Syscalls* syscalls, void* data, size_t size, void* reserved,
               size_t reserved_size)
      : syscalls_(syscalls),
        data_(data),
        size_(size),
        reserved_(reserved),
        reserved_size_(reserved_size) {}

  static absl::StatusOr<MappedRegion> MapInside(Syscalls* syscalls,
                                                const Options& options,
                                                void* reserved,
                                                size_t reserved_size);
  static void Unmap(Syscalls* syscalls, void* data, size_t size);

  Syscalls* syscalls_ = nullptr;
  void* data_ = nullptr;
  size_t size_ = 0;
  // What is unmapped. It is larger than the mapping if that had to be aligned.
  void* reserved_ = nullptr;
  size_t reserved_size_ = 0;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_MAPPED_REGION_H_
