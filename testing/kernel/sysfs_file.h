// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_SYSFS_FILE_H_
#define PASSTHRU_TESTING_KERNEL_SYSFS_FILE_H_

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/fake_sysfs.h"

// The open files of FakeSysfs.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
namespace passthru::fake {

// The most that one write hands to an attribute (PAGE_SIZE).
inline constexpr size_t kAttributeBytes = 4096;

// An open text attribute or directory.
class TextFile final : public PositionedFile {
 public:
  TextFile(std::string path, std::string contents)
      : path_(std::move(path)), contents_(std::move(contents)) {}

  std::string Describe() const override { return path_; }

  std::optional<uint64_t> size() const override { return contents_.size(); }

  kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                      uint64_t offset) override {
    if (offset >= contents_.size()) return {.value = 0};
    const size_t length = std::min<size_t>(count, contents_.size() - offset);
    if (!journal::CopyToUser(buffer, contents_.data() + offset, length)) {
      return {.error = EFAULT};
    }
    return {.value = length};
  }

  // The attributes are never open for writing.
  kernel::SyscallResult<size_t> Pwrite(const void*, size_t, uint64_t) override {
    return {.error = EBADF};
  }

 private:
  const std::string path_;
  const std::string contents_;
};

// An open attribute that is made on each read (struct device_attribute).
class AttributeFile final : public PositionedFile {
 public:
  AttributeFile(std::string path, SysfsAttribute attribute, bool writes)
      : path_(std::move(path)),
        attribute_(std::move(attribute)),
        writes_(writes) {}

  std::string Describe() const override { return path_; }

  // The inode does not know the size of the text (sysfs_add_file_mode_ns()).
  std::optional<uint64_t> size() const override { return kAttributeBytes; }

  bool takes_plain_writes() const override { return writes_; }

  // Like kernfs_seq_show(), asks for the text when a read begins at its start.
  kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                      uint64_t offset) override {
    if (attribute_.show == nullptr) return {.error = EBADF};
    if (offset == 0) text_ = attribute_.show();
    if (offset >= text_.size()) return {.value = 0};
    const size_t length = std::min<size_t>(count, text_.size() - offset);
    if (!journal::CopyToUser(buffer, text_.data() + offset, length)) {
      return {.error = EFAULT};
    }
    return {.value = length};
  }

  // Like kernfs_fop_write_iter(), hands over each write by itself, wherever the
  // file's position is.
  kernel::SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                                       uint64_t) override {
    if (!writes_) return {.error = EBADF};
    std::string text(std::min(count, kAttributeBytes), '\0');
    if (!journal::CopyFromUser(text.data(), buffer, text.size())) {
      return {.error = EFAULT};
    }
    if (const int error = attribute_.store(text); error != 0) {
      return {.error = error};
    }
    return {.value = text.size()};
  }

 private:
  const std::string path_;
  const SysfsAttribute attribute_;
  const bool writes_;
  std::string text_;
};

// An open binary attribute, which answers like sysfs_kf_bin_read() and
// sysfs_kf_bin_write().
class BinaryFile final : public PositionedFile {
 public:
  BinaryFile(std::string path, std::shared_ptr<BinaryAttribute> attribute)
      : path_(std::move(path)), attribute_(std::move(attribute)) {}

  std::string Describe() const override { return path_; }

  std::optional<uint64_t> size() const override { return attribute_->size(); }

  kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                      uint64_t offset) override {
    const uint64_t size = attribute_->size();
    // Most accesses are to a register, and need no memory of the heap.
    absl::InlinedVector<uint8_t, 64> data(
        std::min<uint64_t>(count, size - std::min(size, offset)));
    attribute_->Read(offset, absl::MakeSpan(data));
    if (!journal::CopyToUser(buffer, data.data(), data.size()))
      return {.error = EFAULT};
    return {.value = data.size()};
  }

  kernel::SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                                       uint64_t offset) override {
    const uint64_t size = attribute_->size();
    if (offset >= size) return {.error = EFBIG};
    absl::InlinedVector<uint8_t, 64> data(
        std::min<uint64_t>(count, size - offset));
    if (!journal::CopyFromUser(data.data(), buffer, data.size())) {
      return {.error = EFAULT};
    }
    attribute_->Write(offset, data);
    return {.value = data.size()};
  }

 private:
  const std::string path_;
  const std::shared_ptr<BinaryAttribute> attribute_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_SYSFS_FILE_H_
