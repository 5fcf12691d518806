// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/block_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace passthru::models::nvme {
namespace {

constexpr size_t kZeroes = size_t{1} << 16;  // Bytes written at a time.

// `what` is the subject of the sentence that the error is.
absl::Status CheckBlocks(uint64_t blocks, std::string_view what) {
  if (blocks >= 1 && blocks <= BlockStore::kMaxBlocks) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      what, " is ", blocks, ", not 1 to ", BlockStore::kMaxBlocks));
}

absl::Status FileError(const std::string& path, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("disk image ", path, ": ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockStore>> BlockStore::InMemory(
    uint64_t blocks) {
  if (absl::Status status = CheckBlocks(blocks, "nvme model: blocks");
      !status.ok()) {
    return status;
  }
  void* const memory =
      mmap(nullptr, blocks * kBlockSize, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("nvme model: no address space for a disk of ", blocks,
                     " blocks: ", strerror(errno)));
  }
  return absl::WrapUnique(
      new BlockStore(blocks, static_cast<uint8_t*>(memory), -1));
}

absl::StatusOr<std::unique_ptr<BlockStore>> BlockStore::InFile(
    const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return FileError(path, strerror(errno));
  struct stat status = {};
  absl::Status checked = absl::OkStatus();
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    checked = FileError(path, "it is no regular file");
  } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    checked = FileError(path, "another program uses it");
  } else {
    checked = CheckBlocks(
        static_cast<uint64_t>(status.st_size) / kBlockSize,
        absl::StrCat("disk image ", path, ": its number of 512-byte blocks"));
  }
  if (!checked.ok()) {
    close(fd);
    return checked;
  }
  return absl::WrapUnique(new BlockStore(
      static_cast<uint64_t>(status.st_size) / kBlockSize, nullptr, fd));
}

BlockStore::~BlockStore() {
  if (memory_ != nullptr) munmap(memory_, blocks_ * kBlockSize);
  if (fd_ >= 0) close(fd_);
}

bool BlockStore::Read(uint64_t first, absl::Span<uint8_t> data) const {
  const uint64_t offset = first * kBlockSize;
  if (memory_ != nullptr) {
    std::copy_n(memory_ + offset, data.size(), data.begin());
    return true;
  }
  for (size_t done = 0; done < data.size();) {
    const ssize_t read = pread(fd_, data.data() + done, data.size() - done,
                               static_cast<off_t>(offset + done));
    if (read < 0 && errno == EINTR) continue;
    if (read <= 0) return false;
    done += static_cast<size_t>(read);
  }
  return true;
}

bool BlockStore::Write(uint64_t first, absl::Span<const uint8_t> data) {
  const uint64_t offset = first * kBlockSize;
  if (memory_ != nullptr) {
    std::copy(data.begin(), data.end(), memory_ + offset);
    return true;
  }
  for (size_t done = 0; done < data.size();) {
    const ssize_t written = pwrite(fd_, data.data() + done, data.size() - done,
                                   static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

bool BlockStore::Zero(uint64_t first, uint64_t count) {
  if (count == 0) return true;
  const uint64_t begin = first * kBlockSize;
  const uint64_t end = begin + count * kBlockSize;
  if (memory_ != nullptr) {
    // Anonymous memory that is given back reads as zero.
    const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t whole = (begin + page - 1) / page * page;
    const uint64_t rest = std::max(whole, end / page * page);
    std::fill(memory_ + begin, memory_ + std::min(whole, end), uint8_t{0});
    if (rest > whole &&
        madvise(memory_ + whole, rest - whole, MADV_DONTNEED) != 0) {
      return false;
    }
    if (rest < end) std::fill(memory_ + rest, memory_ + end, uint8_t{0});
    return true;
  }
  if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(begin),
                static_cast<off_t>(end - begin)) == 0) {
    return true;
  }
  // The file system cannot make holes.
  const std::vector<uint8_t> zeroes(kZeroes, 0);
  for (uint64_t at = begin; at < end; at += kZeroes) {
    const size_t length = std::min<uint64_t>(kZeroes, end - at);
    if (!Write(at / kBlockSize, absl::MakeConstSpan(zeroes).first(length))) {
      return false;
    }
  }
  return true;
}

bool BlockStore::Flush() { return fd_ < 0 || fdatasync(fd_) == 0; }

}  // namespace passthru::models::nvme
