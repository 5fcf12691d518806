// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_
#define PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::models::nvme {

// The medium of a disk, in memory, with blocks of 512 bytes that are zero at
// first. It survives resets of its controller, as a real medium does.
//
// Thread-compatible.
class BlockStore {
 public:
  static constexpr uint64_t kBlockSize = 512;

  explicit BlockStore(uint64_t blocks)
      : blocks_(blocks), bytes_(blocks * kBlockSize) {}

  uint64_t blocks() const { return blocks_; }

  bool Contains(uint64_t first, uint64_t count) const {
    return first <= blocks_ && count <= blocks_ - first;
  }

  // Contains(first, count) must hold.
  absl::Span<uint8_t> Blocks(uint64_t first, uint64_t count) {
    return absl::MakeSpan(bytes_).subspan(first * kBlockSize,
                                          count * kBlockSize);
  }

 private:
  uint64_t blocks_;
  std::vector<uint8_t> bytes_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_BLOCK_STORE_H_
