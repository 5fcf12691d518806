// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/mapped_region.h"

#include <sys/mman.h>

#include <cstddef>
#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

absl::StatusOr<MappedRegion> MappedRegion::Map(Syscalls* syscalls,
                                               const Options& options) {
  // MAP_FIXED could replace a mapping that another object owns and will unmap.
  if ((options.flags & MAP_FIXED) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("mmap of ", options.name, ": MAP_FIXED is not supported"));
  }
  const SyscallResult<void*> address =
      syscalls->Mmap(nullptr, options.length, options.protection, options.flags,
                     options.fd, options.offset);
  if (!address.ok()) {
    return ErrnoError(
        address.error,
        absl::StrFormat("mmap of %s (length 0x%x, file offset 0x%x)",
                        options.name, options.length, options.offset));
  }
  return MappedRegion(syscalls, address.value, options.length);
}

absl::StatusOr<MappedRegion> MappedRegion::Allocate(Syscalls* syscalls,
                                                    size_t length,
                                                    std::string name) {
  return Map(syscalls, {.length = length,
                        .protection = PROT_READ | PROT_WRITE,
                        .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                        .name = std::move(name)});
}

MappedRegion::MappedRegion(MappedRegion&& other) noexcept
    : syscalls_(other.syscalls_),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedRegion& MappedRegion::operator=(MappedRegion&& other) noexcept {
  if (this != &other) {
    reset();
    syscalls_ = other.syscalls_;
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedRegion::reset() {
  void* const data = std::exchange(data_, nullptr);
  const size_t size = std::exchange(size_, 0);
  if (data == nullptr) return;
  const SyscallResult<int> result = syscalls_->Munmap(data, size);
  if (!result.ok()) {
    LOG(ERROR) << ErrnoError(result.error,
                             absl::StrFormat("munmap of %p, 0x%x", data, size));
  }
}

}  // namespace passthru::kernel
