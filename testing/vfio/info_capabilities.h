// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_INFO_CAPABILITIES_H_
#define PASSTHRU_TESTING_VFIO_INFO_CAPABILITIES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace passthru::fake {

// A chain of struct vfio_info_cap_header as VFIO's info ioctls build it
// (vfio_info_cap_add() and vfio_info_cap_shift()). Thread-compatible.
class InfoCapabilities {
 public:
  // Each capability is padded to a multiple of `alignment`. `base` is the size
  // of the struct before the chain, from whose start the chain's offsets count.
  InfoCapabilities(size_t alignment, size_t base)
      : alignment_(alignment), base_(base) {}

  // `body` is the part after the 8 bytes of header.
  void Add(uint16_t id, uint16_t version, absl::Span<const uint8_t> body);

  bool empty() const { return bytes_.empty(); }
  size_t size() const { return bytes_.size(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  const size_t alignment_;
  const size_t base_;
  std::vector<uint8_t> bytes_;
  std::optional<size_t> last_;  // Offset of the last header.
};

// Appends a value in the byte order of the UAPI structs.
template <typename T>
void AppendBytes(std::vector<uint8_t>& bytes, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes.push_back(
        static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_INFO_CAPABILITIES_H_
