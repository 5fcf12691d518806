// SPDX-License-Identifier: Apache-2.0
#include "testing/simulate/guest_io/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

namespace guest_io {
namespace {

// Fills a block with the content of a version.
void Fill(uint64_t salt, uint64_t block, uint32_t version, uint8_t* data,
          size_t size) {
  Random random(salt + block * 0x100000001b3u + version);
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    const uint64_t word = version == 0 ? 0 : random.Next();
    memcpy(data + i, &word, sizeof(word));
  }
}

}  // namespace

Disk::Disk(const std::string& port)
    : port_(port), salt_(std::hash<std::string>()(port)), random_(salt_) {}

std::string Disk::Controller() const {
  const std::string path = OneFile(DevicePath(port_) + "/nvme/nvme*");
  return path.substr(path.rfind('/') + 1);
}

std::string Disk::Node() const {
  const std::string path = OneFile(DevicePath(port_) + "/nvme/nvme*/nvme*n1");
  return path.empty() ? "" : "/dev" + path.substr(path.rfind('/'));
}

void Disk::Open() {
  Close();
  AwaitThat("the disk behind " + port_ + " is there", [this] {
    const std::string node = Node();
    if (node.empty()) return false;
    fd_ = open(node.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    return fd_ >= 0 && !IsGone();
  });
  uint64_t bytes = 0;
  if (ioctl(fd_, BLKGETSIZE64, &bytes) != 0) Fail("BLKGETSIZE64");
  if (blocks_ != 0 && blocks_ != bytes / kBlock) Fail("the size has changed");
  blocks_ = bytes / kBlock;
  contents_.resize(blocks_);
}

void Disk::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void Disk::AwaitGone() {
  Close();
  AwaitThat("the disk behind " + port_ + " is gone",
            [this] { return Controller().empty(); });
}

bool Disk::IsGone() const {
  // Linux sets the size to 0 when it removes a disk (nvme_ns_remove()).
  uint64_t bytes = 0;
  return ioctl(fd_, BLKGETSIZE64, &bytes) != 0 || bytes == 0;
}

bool Disk::Holds(uint64_t block, uint32_t version, const uint8_t* data) const {
  uint8_t expected[kBlock];
  Fill(salt_, block, version, expected, kBlock);
  return memcmp(expected, data, kBlock) == 0;
}

bool Disk::Read(uint64_t first, size_t count) {
  memset(data_, 0xa5, count * kBlock);
  const ssize_t got =
      pread(fd_, data_, count * kBlock, static_cast<off_t>(first * kBlock));
  const int error = got < 0 ? errno : 0;
  if (got != static_cast<ssize_t>(count * kBlock)) {
    // A disk without size has nothing to read (0), and one that is being
    // removed fails.
    const bool likely =
        got >= 0 || error == EIO || error == ENODEV || error == ENXIO;
    if (likely && IsGone()) return false;
    errno = error;
    Fail("read of " + std::to_string(count) + " blocks at " +
         std::to_string(first) + " gives " + std::to_string(got));
  }
  for (size_t i = 0; i < count; ++i) {
    Block& block = contents_[first + i];
    const uint8_t* const data = data_ + i * kBlock;
    if (!Holds(first + i, block.version, data)) {
      if (block.perhaps == 0 || !Holds(first + i, block.perhaps, data)) {
        Fail("block " + std::to_string(first + i) + " behind " + port_ +
             " is wrong after " + std::to_string(rounds_) + " rounds");
      }
      block.version = block.perhaps;
    }
    block.perhaps = 0;
  }
  return true;
}

bool Disk::Write(uint64_t first, size_t count) {
  ++last_version_;
  for (size_t i = 0; i < count; ++i) {
    Fill(salt_, first + i, last_version_, data_ + i * kBlock, kBlock);
    contents_[first + i].perhaps = last_version_;
  }
  const ssize_t done =
      pwrite(fd_, data_, count * kBlock, static_cast<off_t>(first * kBlock));
  const int error = done < 0 ? errno : 0;
  if (done == static_cast<ssize_t>(count * kBlock)) {
    for (size_t i = 0; i < count; ++i) {
      contents_[first + i] = {.version = last_version_};
    }
    return true;
  }
  // A disk without size has no space.
  const bool likely = done >= 0 || error == EIO || error == ENODEV ||
                      error == ENXIO || error == ENOSPC;
  if (likely && IsGone()) return false;
  errno = error;
  Fail("write of " + std::to_string(count) + " blocks at " +
       std::to_string(first) + " gives " + std::to_string(done));
}

void Disk::VerifyAll() {
  for (uint64_t first = 0; first + 1 < blocks_; first += kMostBlocks) {
    const auto count = static_cast<size_t>(
        std::min<uint64_t>(kMostBlocks, blocks_ - 1 - first));
    if (!Read(first, count)) Fail("the disk goes while it is compared");
  }
}

bool Disk::Round() {
  const size_t count = 1 + random_.Next() % kMostBlocks;
  const uint64_t first = random_.Next() % (blocks_ - count);
  if (!Write(first, count) || !Read(first, count)) return false;
  ++rounds_;
  return true;
}

void Disk::Rounds(int count) {
  for (int i = 0; i < count; ++i) {
    if (!Round()) Fail("the disk behind " + port_ + " goes of itself");
  }
}

void Disk::Sign(const std::string& text) {
  memset(data_, 0, kBlock);
  memcpy(data_, text.data(), std::min(text.size(), kBlock));
  if (pwrite(fd_, data_, kBlock, static_cast<off_t>(bytes() - kBlock)) !=
      static_cast<ssize_t>(kBlock)) {
    Fail("write of the last block");
  }
}

}  // namespace guest_io
