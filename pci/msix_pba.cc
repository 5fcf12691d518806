// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_pba.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/log/check.h"
#include "absl/types/span.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {

MsixPba::MsixPba(uint16_t vectors) : vectors_(vectors) {
  CHECK(vectors >= 1 && vectors <= MsixCapability::kMaxVectors) << vectors;
}

void MsixPba::Read(uint32_t offset, absl::Span<uint8_t> out,
                   absl::FunctionRef<uint8_t(VectorIndex)> pending) const {
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t at = uint64_t{offset} + i;
    if (at >= size_bytes()) {
      out[i] = 0xff;
      continue;
    }
    const uint64_t first = at * 8;
    if (first >= vectors_) {
      out[i] = 0;
      continue;
    }
    const uint64_t used = std::min<uint64_t>(8, vectors_ - first);
    const unsigned bits = pending(VectorIndex(static_cast<uint16_t>(first)));
    out[i] = static_cast<uint8_t>(bits & ((1u << used) - 1));
  }
}

}  // namespace passthru::pci
