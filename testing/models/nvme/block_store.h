// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_
#define PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::models::nvme {

// The medium of a disk, with blocks of 512 bytes. It is in memory, where the
// blocks are zero at first and take none until they are written, or in a file
// (a disk image). It survives resets of its controller, as a real medium does.
//
// Thread-compatible.
class BlockStore {
 public:
  static constexpr uint64_t kBlockSize = 512;
  // More than this is a mistake of the caller.
  static constexpr uint64_t kMaxBlocks = (uint64_t{1} << 40) / kBlockSize;

  // Makes a medium in memory.
  static absl::StatusOr<std::unique_ptr<BlockStore>> InMemory(uint64_t blocks);
  // Opens a disk image, whose size is that of the medium. A last part of a
  // block is left out. Nobody else may open it meanwhile (flock(2)).
  static absl::StatusOr<std::unique_ptr<BlockStore>> InFile(
      const std::string& path);
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  uint64_t blocks() const { return blocks_; }

  bool Contains(uint64_t first, uint64_t count) const {
    return first <= blocks_ && count <= blocks_ - first;
  }

  // Transfer whole blocks, all of which must be contained. They return false
  // if the file does not do its part.
  bool Read(uint64_t first, absl::Span<uint8_t> data) const;
  bool Write(uint64_t first, absl::Span<const uint8_t> data);
  // Makes blocks zero, and gives back what they occupy.
  bool Zero(uint64_t first, uint64_t count);
  // Makes written blocks durable.
  bool Flush();

  // Returns blocks of a medium in memory. Contains(first, count) must hold.
  absl::Span<uint8_t> Blocks(uint64_t first, uint64_t count) {
    return absl::MakeSpan(memory_ + first * kBlockSize,
                          static_cast<size_t>(count * kBlockSize));
  }

 private:
  BlockStore(uint64_t blocks, uint8_t* memory, int fd)
      : blocks_(blocks), memory_(memory), fd_(fd) {}

  const uint64_t blocks_;
  uint8_t* const memory_;  // Null if in a file.
  const int fd_;           // -1 if in memory.
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_
