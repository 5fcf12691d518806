// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/mapped_region.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

absl::Status MmapError(int error, const MappedRegion::Options& options) {
  return ErrnoError(
      error, absl::StrFormat("mmap of %s (length 0x%x, file offset 0x%x)",
                             options.name, options.length, options.offset));
}

}  // namespace

absl::StatusOr<MappedRegion> MappedRegion::Map(Syscalls* syscalls,
                                               const Options& options) {
  // MAP_FIXED could replace a mapping that another object owns and will unmap.
  if ((options.flags & MAP_FIXED) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("mmap of ", options.name, ": MAP_FIXED is not supported"));
  }
  if (options.alignment > PageSize()) {
    // The rest of the reservation stays as it is, without access, because it
    // costs no memory and one call then unmaps all.
    const size_t size = options.length + options.alignment;
    const SyscallResult<void*> reserved =
        syscalls->Mmap(nullptr, size, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved.ok()) {
      return MapInside(syscalls, options, reserved.value, size);
    }
    LOG(WARNING) << ErrnoError(
        reserved.error,
        absl::StrFormat("%s is mapped with pages of 0x%x bytes, because the "
                        "reservation of 0x%x bytes of addresses failed",
                        options.name, PageSize(), size));
  }
  const SyscallResult<void*> address =
      syscalls->Mmap(nullptr, options.length, options.protection, options.flags,
                     options.fd, options.offset);
  if (!address.ok()) return MmapError(address.error, options);
  return MappedRegion(syscalls, address.value, options.length);
}

absl::StatusOr<MappedRegion> MappedRegion::MapInside(Syscalls* syscalls,
                                                     const Options& options,
                                                     void* reserved,
                                                     size_t reserved_size) {
  const auto begin = reinterpret_cast<uintptr_t>(reserved);
  const size_t shift = (options.offset - begin) & (options.alignment - 1);
  const SyscallResult<void*> address =
      syscalls->Mmap(static_cast<uint8_t*>(reserved) + shift, options.length,
                     options.protection, options.flags | MAP_FIXED, options.fd,
                     options.offset);
  if (!address.ok()) {
    Unmap(syscalls, reserved, reserved_size);
    return MmapError(address.error, options);
  }
  return MappedRegion(syscalls, address.value, options.length, reserved,
                      reserved_size);
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
      size_(std::exchange(other.size_, 0)),
      reserved_(std::exchange(other.reserved_, nullptr)),
      reserved_size_(std::exchange(other.reserved_size_, 0)) {}

MappedRegion& MappedRegion::operator=(MappedRegion&& other) noexcept {
  if (this != &other) {
    reset();
    syscalls_ = other.syscalls_;
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    reserved_ = std::exchange(other.reserved_, nullptr);
    reserved_size_ = std::exchange(other.reserved_size_, 0);
  }
  return *this;
}

void MappedRegion::reset() {
  data_ = nullptr;
  size_ = 0;
  void* const reserved = std::exchange(reserved_, nullptr);
  const size_t size = std::exchange(reserved_size_, 0);
  if (reserved != nullptr) Unmap(syscalls_, reserved, size);
}

void MappedRegion::Unmap(Syscalls* syscalls, void* data, size_t size) {
  const SyscallResult<int> result = syscalls->Munmap(data, size);
  if (!result.ok()) {
    LOG(ERROR) << ErrnoError(
        result.error,
        absl::StrFormat("munmap of 0x%x bytes at %p", size, data));
  }
}

}  // namespace passthru::kernel
