// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_pba.h"

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
                   absl::FunctionRef<bool(VectorIndex)> pending) const {
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t at = uint64_t{offset} + i;
    if (at >= size_bytes()) {
      out[i] = 0xff;
      continue;
    }
    unsigned byte = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
      const uint64_t vector = at * 8 + bit;
      if (vector >= vectors_) break;
      if (pending(VectorIndex(static_cast<uint16_t>(vector)))) {
        byte |= 1u << bit;
      }
    }
    out[i] = static_cast<uint8_t>(byte);
  }
}

}  // namespace passthru::pci
