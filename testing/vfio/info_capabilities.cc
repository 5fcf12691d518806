// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/info_capabilities.h"

#include <linux/vfio.h>

#include <cstring>

namespace passthru::fake {

void InfoCapabilities::Add(uint16_t id, uint16_t version,
                           absl::Span<const uint8_t> body) {
  const size_t at = bytes_.size();
  if (last_.has_value()) {
    const uint32_t next = static_cast<uint32_t>(base_ + at);
    std::memcpy(bytes_.data() + *last_ + offsetof(vfio_info_cap_header, next),
                &next, sizeof(next));
  }
  AppendBytes(bytes_, id);
  AppendBytes(bytes_, version);
  AppendBytes(bytes_, uint32_t{0});
  bytes_.insert(bytes_.end(), body.begin(), body.end());
  while (bytes_.size() % alignment_ != 0) bytes_.push_back(0);
  last_ = at;
}

}  // namespace passthru::fake
